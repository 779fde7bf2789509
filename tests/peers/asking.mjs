// The official TypeScript SDK's client, asked by server-everything through Sentinel: a model's words, a person's by form
// and by URL, roots; and told of other roots.
// node asking.mjs FOLDER-OF-THE-SDK http URL TOKEN   |   node asking.mjs FOLDER-OF-THE-SDK stdio COMMAND ARGS…
import { pathToFileURL } from 'node:url';

const [sdk, kind, ...rest] = process.argv.slice(2);
const part = async (path) => import(pathToFileURL(`${sdk}/dist/esm/${path}`));
const { Client } = await part('client/index.js');
const types = await part('types.js');

async function transport() {
  if (kind === 'http') {
    const { StreamableHTTPClientTransport } = await part('client/streamableHttp.js');
    const [url, token] = rest;
    return new StreamableHTTPClientTransport(new URL(url), {
      requestInit: { headers: { Authorization: `Bearer ${token}` } },
    });
  }
  const { StdioClientTransport } = await part('client/stdio.js');
  const [command, ...args] = rest;
  return new StdioClientTransport({ command, args, env: process.env, stderr: 'inherit' });
}

function check(what, good, seen) {
  if (!good) throw new Error(`${what}: ${JSON.stringify(seen)}`);
  console.log(`ok ${what}`);
}

const capabilities = { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } };
const client = new Client({ name: 'peers-asked', version: '1.0.0' }, { capabilities });
const asked = { sampling: [], form: [], url: [], completed: [] };
let roots = [{ uri: 'file:///projects/one', name: 'one' }];
client.setRequestHandler(types.CreateMessageRequestSchema, (request) => {
  asked.sampling.push(request.params);
  return { model: 'none', role: 'assistant', content: { type: 'text', text: 'a model would say this' } };
});
client.setRequestHandler(types.ElicitRequestSchema, (request) => {
  const isUrl = request.params.mode === 'url';
  asked[isUrl ? 'url' : 'form'].push(request.params);
  return isUrl ? { action: 'accept' } : { action: 'accept', content: { name: 'Ada', check: true } };
});
client.setRequestHandler(types.ListRootsRequestSchema, () => ({ roots }));
client.setNotificationHandler(types.ElicitationCompleteNotificationSchema, (note) => asked.completed.push(note.params));
await client.connect(await transport());

const call = (tool, args = {}) => client.callTool({ name: `everything__${tool}`, arguments: args });
const text = (answer) => answer.content.map((one) => one.text ?? '').join('\n');

const sampled = await call('trigger-sampling-request', { prompt: 'what is said?' });
check('sampling', text(sampled).includes('a model would say this'), sampled);
check('it was asked once', asked.sampling.length === 1 && JSON.stringify(asked.sampling).includes('what is said?'), asked);
const formed = await call('trigger-elicitation-request');
check('elicitation by a form', text(formed).includes('Ada'), formed);
check('who asks is shown', asked.form[0]?.message.startsWith('[everything] '), asked.form);
const visited = await call('trigger-url-elicitation', { url: 'https://example.com/consent' });
check('elicitation by a URL', !visited.isError && asked.url[0]?.url === 'https://example.com/consent', { visited, asked });
const listed = await call('get-roots-list');
check('roots', text(listed).includes('file:///projects/one'), listed);
roots = [{ uri: 'file:///projects/two', name: 'two' }];
await client.sendRootsListChanged();
let now = '';
for (let tries = 0; tries < 100 && !now.includes('file:///projects/two'); tries += 1) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  now = text(await call('get-roots-list'));
}
check('other roots', now.includes('file:///projects/two'), now);
await client.close();
