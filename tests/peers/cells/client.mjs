// The official TypeScript SDK's client tries each feature through Sentinel; a line of JSON for each: {feature, works, why}.
// node client.mjs FOLDER-OF-THE-SDK legacy|modern http URL TOKEN
// node client.mjs FOLDER-OF-THE-SDK legacy|modern stdio COMMAND ARGS…
import { pathToFileURL } from 'node:url';

const [sdk, era, kind, ...rest] = process.argv.slice(2);
const { Client, StreamableHTTPClientTransport } = await import(pathToFileURL(`${sdk}/dist/index.mjs`));
const { StdioClientTransport } = await import(pathToFileURL(`${sdk}/dist/stdio.mjs`));
const isModern = era === 'modern';
const WATCHED = 'test://watched-resource';
const TASKS = 'io.modelcontextprotocol/tasks';
const LEVEL = 'io.modelcontextprotocol/logLevel';

function transport() {
  if (kind === 'http') {
    const [url, token] = rest;
    return new StreamableHTTPClientTransport(new URL(url), {
      requestInit: { headers: { Authorization: `Bearer ${token}` } },
    });
  }
  const [command, ...args] = rest;
  return new StdioClientTransport({ command, args, env: process.env, stderr: 'ignore' });
}

function need(good, seen) {
  if (!good) throw new Error(typeof seen === 'string' ? seen : JSON.stringify(seen));
}

async function until(what, good) {
  for (let tries = 0; tries < 500; tries += 1) {
    if (await good()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(what());
}

const asked = [];
const logs = [];
const notes = [];

function made(capabilities) {
  const mode = isModern ? { pin: '2026-07-28' } : 'legacy';
  return new Client({ name: 'cells', version: '1' }, { capabilities, versionNegotiation: { mode } });
}

const client = made({ sampling: {}, elicitation: { form: {}, url: {} }, roots: {} });
const value = { boolean: true, integer: 7, number: 7.5, string: 'Ada' };
client.setRequestHandler('sampling/createMessage', (request) => {
  asked.push(request.params);
  return { model: 'none', role: 'assistant', content: { type: 'text', text: 'a model would say this' } };
});
client.setRequestHandler('elicitation/create', (request) => {
  asked.push(request.params);
  if (request.params.mode === 'url') return { action: 'accept' };
  const wanted = Object.entries(request.params.requestedSchema.properties).filter(([, { type }]) => type !== 'array');
  const content = Object.fromEntries(wanted.map(([name, one]) => [name, one.default ?? one.enum?.[0] ?? one.oneOf?.[0].const ?? value[one.type]]));
  return { action: 'accept', content };
});
client.setRequestHandler('roots/list', () => ({ roots: [{ uri: 'file:///projects/one', name: 'one' }] }));
client.setNotificationHandler('notifications/message', (note) => void logs.push(note.params));
for (const name of ['tools/list_changed', 'prompts/list_changed', 'resources/list_changed', 'resources/updated']) {
  client.setNotificationHandler(`notifications/${name}`, () => void notes.push(name));
}

const call = (name, args = {}, options = {}, more = {}) => client.callTool({ name, arguments: args, ...more }, options);
const text = (answer) => answer.content.map((one) => one.text ?? '').join('\n');
const refused = (promise) => promise.then((seen) => need(false, { answered: seen }), (fault) => fault);
const names = (all) => all.map((one) => one.name);

const features = {
  opening: async () => {
    need(client.getNegotiatedProtocolVersion() === (isModern ? '2026-07-28' : '2025-11-25'), client.getNegotiatedProtocolVersion());
    need(client.getServerCapabilities().tools, client.getServerCapabilities());
  },
  ping: async () => (isModern ? 'not of this era' : void (await client.ping())),
  lists: async () => {
    need(names((await client.listTools()).tools).includes('test_simple_text'), 'tools');
    need((await client.listResources()).resources.some((one) => one.uri === 'test://static-text'), 'resources');
    const { resourceTemplates } = await client.listResourceTemplates();
    need(resourceTemplates.some((one) => one.uriTemplate === 'test://template/{id}/data'), resourceTemplates);
    need(names((await client.listPrompts()).prompts).includes('test_simple_prompt'), 'prompts');
  },
  definitions: async () => {
    const tool = (await client.listTools()).tools.find((one) => one.name === 'test_structured_content');
    need(tool?.title && tool.outputSchema && tool.annotations.readOnlyHint && tool.icons, tool ?? 'no such tool');
    need(tool._meta?.['example.test/kept'] === 'as it is', tool);
  },
  'kinds of content': async () => {
    const kinds = { simple_text: 'text', image_content: 'image', audio_content: 'audio', embedded_resource: 'resource', resource_link: 'resource_link' };
    for (const [name, type] of Object.entries(kinds)) {
      const answer = await call(`test_${name}`);
      need(answer.content[0].type === type, answer);
    }
    need((await call('test_multiple_content_types')).content.length === 3, 'three parts');
  },
  'structured content': async () => {
    const answer = await call('test_structured_content');
    need(answer.structuredContent?.answer === 42, answer);
  },
  'tool errors': async () => need((await call('test_error_handling')).isError === true, 'no error'),
  resources: async () => {
    need((await client.readResource({ uri: 'test://static-text' })).contents[0].text.startsWith('This is the content'), 'text');
    const { contents } = await client.readResource({ uri: 'test://static-binary' });
    need(Buffer.from(contents[0].blob, 'base64').subarray(1, 4).toString() === 'PNG', contents);
    need((await client.readResource({ uri: 'test://template/123/data' })).contents[0].text.includes('"123"'), 'template');
  },
  'resource not found': async () => {
    const fault = await refused(client.readResource({ uri: 'test://nowhere' }));
    // The SDK gives its users the newer code in either era.
    need((fault.code === -32602 || (!isModern && fault.code === -32002)) && fault.data?.uri === 'test://nowhere', { code: fault.code, data: fault.data, fault: String(fault) });
  },
  prompts: async () => {
    const got = await client.getPrompt({ name: 'test_prompt_with_arguments', arguments: { arg1: 'one', arg2: 'two' } });
    need(got.messages[0].content.text.includes("'one'"), got);
    const embedded = await client.getPrompt({ name: 'test_prompt_with_embedded_resource', arguments: { resourceUri: 'test://x' } });
    need(embedded.messages[0].content.resource.uri === 'test://x', embedded);
  },
  completion: async () => {
    const got = await client.complete({ ref: { type: 'ref/prompt', name: 'test_prompt_with_arguments' }, argument: { name: 'arg1', value: 't' } });
    need(JSON.stringify(got.completion.values) === '["ta","tb"]', got);
  },
  progress: async () => {
    const steps = [];
    await call('test_tool_with_progress', {}, { onprogress: (one) => steps.push(one.progress) });
    // Of a note and an answer in one read the SDK handles the answer first, and drops the note.
    need(steps.join() === '0,50,100' || steps.join() === '0,50', steps);
  },
  'log messages': async () => {
    const more = isModern ? { _meta: { [LEVEL]: 'info' } } : {};
    if (!isModern) await client.setLoggingLevel('info');
    logs.length = 0;
    await call('test_tool_with_logging', {}, {}, more);
    await until(() => `${logs.length} notes of three`, () => logs.length >= 3);
    if (!isModern) await client.setLoggingLevel('error');
    logs.length = 0;
    await call('test_tool_with_logging');
    need(logs.length === 0, `${logs.length} notes that nobody asked for`);
    if (!isModern) await client.setLoggingLevel('debug');
  },
  'cancel by the client': async () => {
    const before = text(await call('test_slow_calls'));
    const abort = new AbortController();
    setTimeout(() => abort.abort('the user thought better of it'), 500);
    await refused(call('test_slow', { ms: 60000 }, { signal: abort.signal }));
    await until(() => 'the server was not told', async () => text(await call('test_slow_calls')) !== before);
  },
  sampling: async () => {
    const answer = await call('test_sampling', { prompt: 'what is said?' });
    need(text(answer).includes('a model would say this'), answer);
  },
  'elicitation by a form': async () => {
    const answer = await call('test_elicitation', { message: 'Who?' });
    need(text(answer).includes('accept') && asked.at(-1).message.includes('Who?'), answer);
  },
  'all kinds of forms': async () => {
    for (const name of ['sep1034_defaults', 'sep1330_enums']) {
      const answer = await call(`test_elicitation_${name}`);
      need(text(answer).includes('accept'), answer);
    }
    need(asked.at(-1).requestedSchema.properties.titledSingle.oneOf[0].const === 'value1', asked.at(-1));
  },
  'elicitation by a URL': async () => {
    const answer = await call('test_elicitation_url');
    need(text(answer).includes('accept') && asked.at(-1).url?.startsWith('https://example.test'), { answer, asked: asked.at(-1) });
  },
  roots: async () => {
    const answer = await call('test_input_required_result_list_roots');
    need(text(answer).includes('file:///projects/one'), answer);
  },
  'several questions and rounds': async () => {
    const answer = await call('test_input_required_result_multiple_inputs');
    need(text(answer).includes('All inputs received'), answer);
    const rounds = await call('test_input_required_result_multi_round');
    need(text(rounds).includes('complete'), rounds);
  },
  'a prompt that asks': async () => {
    const got = await client.getPrompt({ name: 'test_input_required_result_prompt' });
    need(got.messages[0].content.text.includes('Ada'), got);
  },
  list_changed: async () => {
    for (const what of ['tool', 'prompt', 'resource']) {
      const listening = isModern ? await client.listen({ [`${what}sListChanged`]: true }) : null;
      notes.length = 0;
      await call(`test_trigger_${what}_change`);
      await until(() => `no ${what}s/list_changed, only ${notes}`, () => notes.includes(`${what}s/list_changed`));
      await listening?.close();
    }
  },
  'resources/updated': async () => {
    const listening = isModern ? await client.listen({ resourceSubscriptions: [WATCHED] }) : null;
    if (!isModern) await client.subscribeResource({ uri: WATCHED });
    notes.length = 0;
    await call('test_update_resource');
    await until(() => `no resources/updated, only ${notes}`, () => notes.includes('resources/updated'));
    await listening?.close();
    if (!isModern) await client.unsubscribeResource({ uri: WATCHED });
  },
  'a capability that is missing': async () => {
    const bare = made({});
    await bare.connect(transport());
    const fault = await refused(bare.callTool({ name: 'test_missing_capability', arguments: {} }));
    await bare.close();
    need(fault.code === -32021 && JSON.stringify(fault.data?.requiredCapabilities) === '{"sampling":{}}', { code: fault.code, data: fault.data, fault: String(fault) });
  },
  tasks: async () => {
    const one = isModern ? made({ extensions: { [TASKS]: {} } }) : client;
    if (isModern) await one.connect(transport());
    const can = one.getServerCapabilities();
    need(isModern ? can.extensions?.[TASKS] : can.tasks?.requests?.tools?.call, 'tasks are not offered');
    // The SDK has no tasks of its own: messages by hand, on its transport.
    const any = { '~standard': { version: 1, vendor: 'cells', validate: (value) => ({ value }) } };
    const ask = (method, params) => one.request({ method, params }, any);
    const called = { name: isModern ? 'slow_compute' : 'task_compute', arguments: { seconds: 0.3 } };
    const begun = await ask('tools/call', isModern ? called : { ...called, task: {} });
    const { taskId } = isModern ? begun : begun.task;
    let look = await ask('tasks/get', { taskId });
    need(look.taskId === taskId, look);
    await until(() => JSON.stringify(look), async () => (look = await ask('tasks/get', { taskId })).status === 'completed');
    const done = isModern ? look.result : await ask('tasks/result', { taskId });
    need(text(done).includes('is done'), done);
    need(isModern || done._meta?.['io.modelcontextprotocol/related-task']?.taskId === taskId, done);
    if (isModern) await one.close();
  },
  'an argument in a header': async () => {
    const answer = await call('test_custom_header', { value: 'hé' });
    need(text(answer) === 'hé', answer);
  },
};

const late = (ms) => new Promise((_, reject) => setTimeout(() => reject(new Error('no answer in 30 s')), ms).unref());
await client.connect(transport());
for (const [feature, tries] of Object.entries(features)) {
  const line = { feature, works: true, why: '' };
  try {
    line.why = (await Promise.race([tries(), late(30_000)])) ?? '';
  } catch (fault) {
    line.works = false;
    line.why = String(fault?.message ?? fault).slice(0, 300);
  }
  console.log(JSON.stringify(line));
}
await client.close();
process.exit(0);
