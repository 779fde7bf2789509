// The official TypeScript SDKs' clients, asked through Sentinel: a model's words, a person's by form and by URL, roots.
// node asking.mjs FOLDER-OF-THE-SDK MODE everything|cells http URL TOKEN | … MODE everything|cells stdio COMMAND ARGS…
// MODE: as in sdk.mjs. `everything` is server-everything, of the legacy era; `cells` is cells/server.mjs in the modern one.
import { pathToFileURL } from 'node:url';

const [sdk, mode, server, kind, ...rest] = process.argv.slice(2);
const part = async (path) => import(pathToFileURL(`${sdk}/dist/${path}`));
const first = mode === 'first';
const { Client, StreamableHTTPClientTransport } = first
  ? { ...(await part('esm/client/index.js')), ...(await part('esm/client/streamableHttp.js')) }
  : await part('index.mjs');
const types = first ? await part('esm/types.js') : null;

async function transport() {
  if (kind === 'http') {
    const [url, token] = rest;
    return new StreamableHTTPClientTransport(new URL(url), {
      requestInit: { headers: { Authorization: `Bearer ${token}` } },
    });
  }
  const { StdioClientTransport } = await part(first ? 'esm/client/stdio.js' : 'stdio.mjs');
  const [command, ...args] = rest;
  return new StdioClientTransport({ command, args, env: process.env, stderr: 'inherit' });
}

function check(what, good, seen) {
  if (!good) throw new Error(`${what}: ${JSON.stringify(seen)}`);
  console.log(`ok ${what}`);
}

const capabilities = { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } };
const options = first ? { capabilities } : { capabilities, versionNegotiation: { mode } };
const client = new Client({ name: 'peers-asked', version: '1.0.0' }, options);
const asked = { sampling: [], form: [], url: [] };
let roots = [{ uri: 'file:///projects/one', name: 'one' }];
const answers = {
  'sampling/createMessage': ({ params }) => {
    asked.sampling.push(params);
    return { model: 'none', role: 'assistant', content: { type: 'text', text: 'a model would say this' } };
  },
  'elicitation/create': ({ params }) => {
    const isUrl = params.mode === 'url';
    asked[isUrl ? 'url' : 'form'].push(params);
    return isUrl ? { action: 'accept' } : { action: 'accept', content: { name: 'Ada', check: true } };
  },
  'roots/list': () => ({ roots }),
};
const schemas = first && {
  'sampling/createMessage': types.CreateMessageRequestSchema,
  'elicitation/create': types.ElicitRequestSchema,
  'roots/list': types.ListRootsRequestSchema,
};
for (const [method, answer] of Object.entries(answers)) client.setRequestHandler(first ? schemas[method] : method, answer);
await client.connect(await transport());
const isModern = !first && client.getNegotiatedProtocolVersion() === '2026-07-28';
if (!first) check(`speaks ${client.getNegotiatedProtocolVersion()}`, isModern === (mode !== 'legacy'), mode);

// What each server calls its tools, and what it makes of an answer.
const url = 'https://example.com/consent';
const tools = {
  everything: {
    sampling: ['trigger-sampling-request', { prompt: 'what is said?' }],
    form: ['trigger-elicitation-request', {}, 'Ada'],
    url: ['trigger-url-elicitation', { url }, url],
    roots: ['get-roots-list', {}],
  },
  cells: {
    sampling: ['test_sampling', { prompt: 'what is said?' }],
    form: ['test_elicitation', { message: 'Who?' }, 'accept'],
    url: ['test_elicitation_url', {}, 'https://example.test/'],
    roots: ['test_input_required_result_list_roots', {}],
  },
}[server];
const call = (what) => client.callTool({ name: `${server}__${tools[what][0]}`, arguments: tools[what][1] });
const text = (answer) => answer.content.map((one) => one.text ?? '').join('\n');

const sampled = await call('sampling');
check('sampling', text(sampled).includes('a model would say this'), sampled);
check('it was asked once', asked.sampling.length === 1 && JSON.stringify(asked.sampling).includes('what is said?'), asked);
const formed = await call('form');
check('elicitation by a form', text(formed).includes(tools.form[2]), formed);
check('who asks is shown', asked.form[0]?.message.startsWith(`[${server}] `), asked.form);
const visited = await call('url');
check('elicitation by a URL', !visited.isError && asked.url[0]?.url.startsWith(tools.url[2]), { visited, asked });
check('a URL has an id in the older era alone', 'elicitationId' in asked.url[0] === !isModern, asked.url);
const listed = await call('roots');
check('roots', text(listed).includes('file:///projects/one'), listed);
roots = [{ uri: 'file:///projects/two', name: 'two' }];
if (!isModern && server === 'everything') await client.sendRootsListChanged();
let now = '';
for (let tries = 0; tries < 100 && !now.includes('file:///projects/two'); tries += 1) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  now = text(await call('roots'));
}
// This server keeps the roots that it has once, until it is told of others; no modern client tells.
const isKept = isModern && server === 'everything';
check(isKept ? 'the same roots, as nothing was said' : 'other roots', now.includes(isKept ? 'one' : 'two'), now);
if (first && server === 'everything') {
  // This SDK follows tasks of 2025-11-25 by itself, of tools that it has seen in the list: it looks, waits for the answer,
  // and is asked meanwhile.
  await client.listTools();
  const seen = [];
  let done = null;
  const ask = { name: 'everything__simulate-research-query', arguments: { topic: 'python', ambiguous: true } };
  answers['elicitation/create'] = ({ params }) => {
    asked.form.push(params);
    return { action: 'accept', content: { interpretation: 'snake' } };
  };
  client.setRequestHandler(types.ElicitRequestSchema, answers['elicitation/create']);
  for await (const message of client.experimental.tasks.callToolStream(ask, types.CallToolResultSchema, { timeout: 60000 })) {
    seen.push(message.type === 'taskStatus' ? message.task.status : message.type);
    done = message;
  }
  check(`a task: ${[...new Set(seen)].join(' ')}`, done?.type === 'result' && text(done.result).includes('snake'), { seen, done: String(done?.error ?? '') });
  const told = asked.form.at(-1)._meta?.['io.modelcontextprotocol/related-task']?.taskId;
  check('it was asked within the task', told?.startsWith('c1.'), asked.form.at(-1));
}
await client.close();
