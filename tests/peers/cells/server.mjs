// A server on the official TypeScript SDK, which speaks both eras: what the clients of the table of cells try. It offers
// what tests/conformance/fixture does, which is on rmcp, from the same file.
// node server.mjs FOLDER-OF-THE-SDK OFFER.json
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [sdk, file] = process.argv.slice(2);
const { ProtocolError, Server, inputRequired } = await import(pathToFileURL(`${sdk}/dist/index.mjs`));
const { serveStdio } = await import(pathToFileURL(`${sdk}/dist/stdio.mjs`));
const offer = JSON.parse(readFileSync(file, 'utf8'));
const WATCHED = 'test://watched-resource';
const more = { tool: false, prompt: false, resource: false };
let givenUp = 0;

const text = (said) => ({ content: [{ type: 'text', text: said }] });
const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener('abort', () => {
    clearTimeout(timer);
    givenUp += 1;
    resolve();
  });
});
const question = (name, change = {}) => {
  const { method, params } = structuredClone(offer.questions[name]);
  if (params.mode === 'url') delete params.elicitationId;
  return { method, params: { ...params, ...change } };
};

// What each tool asks, by the keys of its answers.
const asks = {
  test_sampling: ({ prompt }) => ({ sampling: question('greeting', { messages: [{ role: 'user', content: { type: 'text', text: prompt } }] }) }),
  test_elicitation: ({ message }) => ({ user: question('user', { message }) }),
  test_elicitation_sep1034_defaults: () => ({ defaults: question('defaults') }),
  test_elicitation_sep1330_enums: () => ({ enums: question('enums') }),
  test_elicitation_url: () => ({ page: question('page') }),
  test_input_required_result_list_roots: () => ({ client_roots: question('roots') }),
  test_input_required_result_multiple_inputs: () => ({ user_name: question('name'), greeting: question('greeting'), client_roots: question('roots') }),
};
const said = (answer) => answer.content?.text ?? answer.content?.[0]?.text ?? (answer.roots ? JSON.stringify(answer.roots) : answer.action);

function asking(name, args, ctx) {
  const wanted = asks[name](args);
  const answers = ctx.mcpReq.inputResponses ?? {};
  const missing = Object.fromEntries(Object.entries(wanted).filter(([key]) => !answers[key]));
  if (Object.keys(missing).length) return inputRequired({ inputRequests: wanted });
  return text(`All inputs received: ${Object.keys(wanted).map((key) => said(answers[key])).join('; ')}`);
}

function rounds(ctx) {
  const round = Number(ctx.mcpReq.requestState() ?? 0);
  if (round < 2) {
    const step = `step${round + 1}`;
    return inputRequired({ inputRequests: { [step]: question(step) }, requestState: String(round + 1) });
  }
  return text('Multi-round flow complete');
}

async function progress(ctx) {
  const progressToken = ctx.mcpReq._meta?.progressToken;
  for (const done of [0, 50, 100]) {
    if (progressToken !== undefined) {
      await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress: done, total: 100 } });
    }
    await pause(50);
  }
  return text('progress was reported');
}

async function logs(ctx) {
  for (const step of ['started', 'processing', 'completed']) {
    await ctx.mcpReq.log('info', `Tool execution ${step}`);
    await pause(50);
  }
  return text('it was logged');
}

function server() {
  const changing = { listChanged: true };
  const capabilities = { tools: changing, prompts: changing, resources: { ...changing, subscribe: true }, completions: {}, logging: {} };
  const one = new Server({ name: 'cells', version: '1' }, { capabilities });
  const another = (kind, entry) => (more[kind] ? [entry] : []);
  const turn = async (kind) => {
    more[kind] = !more[kind];
    await one.notification({ method: `notifications/${kind}s/list_changed` });
    return text('it was changed');
  };
  one.setRequestHandler('tools/list', () => ({ tools: [...offer.tools, ...another('tool', { ...offer.tools[0], name: 'test_that_comes_and_goes' })] }));
  one.setRequestHandler('prompts/list', () => ({ prompts: [...offer.prompts, ...another('prompt', { name: 'test_that_comes_and_goes' })] }));
  one.setRequestHandler('resources/list', () => ({ resources: [...offer.resources, ...another('resource', { uri: 'test://that-came', name: 'that-came' })] }));
  one.setRequestHandler('resources/templates/list', () => ({ resourceTemplates: offer.templates }));
  one.setRequestHandler('resources/subscribe', () => ({}));
  one.setRequestHandler('resources/unsubscribe', () => ({}));
  one.setRequestHandler('resources/read', ({ params: { uri } }) => {
    const id = /^test:\/\/template\/(.*)\/data$/.exec(uri)?.[1];
    const found = offer.contents[uri] ?? (id && { mimeType: 'application/json', text: JSON.stringify({ id }) });
    if (!found) throw new ProtocolError(-32002, `there is no resource ${uri}`, { uri });
    return { contents: [{ uri, ...found }] };
  });
  one.setRequestHandler('prompts/get', ({ params: { name, arguments: args = {} } }, ctx) => {
    if (name === 'test_input_required_result_prompt') {
      const answer = ctx.mcpReq.inputResponses?.user_context;
      if (!answer) return inputRequired({ inputRequests: { user_context: question('context') } });
      return { messages: [{ role: 'user', content: { type: 'text', text: `In the context of ${answer.content?.context}` } }] };
    }
    if (!offer.messages[name]) throw new ProtocolError(-32602, `there is no prompt ${name}`);
    const filled = Object.entries(args).reduce((all, [key, value]) => all.replaceAll(`{${key}}`, value), JSON.stringify(offer.messages[name]));
    return { messages: JSON.parse(filled) };
  });
  one.setRequestHandler('completion/complete', ({ params: { argument } }) => ({ completion: { values: ['a', 'b'].map((end) => argument.value + end) } }));
  one.setRequestHandler('tools/call', async ({ params: { name, arguments: args = {} } }, ctx) => {
    if (offer.answers[name]) return offer.answers[name];
    if (asks[name]) return asking(name, args, ctx);
    switch (name) {
      case 'test_input_required_result_multi_round':
        return rounds(ctx);
      case 'test_tool_with_progress':
        return progress(ctx);
      case 'test_tool_with_logging':
        return logs(ctx);
      case 'test_slow':
        await pause(args.ms, ctx.mcpReq.signal);
        return text('it is over');
      case 'test_slow_calls':
        return text(String(givenUp));
      case 'test_custom_header':
        return text(args.value);
      case 'test_trigger_tool_change':
        return turn('tool');
      case 'test_trigger_prompt_change':
        return turn('prompt');
      case 'test_trigger_resource_change':
        return turn('resource');
      case 'test_update_resource':
        await one.notification({ method: 'notifications/resources/updated', params: { uri: WATCHED } });
        return text('it was changed');
      case 'test_missing_capability': {
        const can = ctx.mcpReq.envelope?.['io.modelcontextprotocol/clientCapabilities'] ?? one.getClientCapabilities();
        if (!can?.sampling) throw new ProtocolError(-32021, 'sampling is needed', { requiredCapabilities: { sampling: {} } });
        return text('it samples');
      }
      default:
        throw new ProtocolError(-32602, `there is no tool ${name}`);
    }
  });
  return one;
}

serveStdio(server);
