// The official TypeScript SDKs' clients, as their users have them, against Sentinel: list, call, progress, cancel.
// node sdk.mjs FOLDER-OF-THE-SDK MODE http URL TOKEN   |   node sdk.mjs FOLDER-OF-THE-SDK MODE stdio COMMAND ARGS…
// MODE: first (@modelcontextprotocol/sdk, of the legacy era alone), or what @modelcontextprotocol/client is told:
// legacy, auto, pin (to 2026-07-28).
import { pathToFileURL } from 'node:url';

const [sdk, mode, kind, ...rest] = process.argv.slice(2);
const part = async (path) => import(pathToFileURL(`${sdk}/dist/${path}`));
const first = mode === 'first';
const { Client, StreamableHTTPClientTransport } = first
  ? { ...(await part('esm/client/index.js')), ...(await part('esm/client/streamableHttp.js')) }
  : await part('index.mjs');
const isModern = mode === 'auto' || mode === 'pin';

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

const call = (params, options) => (first ? client.callTool(params, undefined, options) : client.callTool(params, options));
const negotiation = { legacy: 'legacy', auto: 'auto', pin: { pin: '2026-07-28' } }[mode];
const options = first ? {} : { versionNegotiation: { mode: negotiation } };
const client = new Client({ name: 'peers-typescript', version: '1.0.0' }, options);
const broken = [];
client.onerror = (fault) => broken.push(String(fault));
await client.connect(await transport());
if (!first) {
  const spoken = client.getNegotiatedProtocolVersion();
  check(`speaks ${spoken}`, spoken === (isModern ? '2026-07-28' : '2025-11-25'), spoken);
}
const { tools } = await client.listTools();
const names = tools.map((tool) => tool.name);
check(`list: ${tools.length} tools`, names.includes('example__slow') && names.includes('example__echo'), names);

const answer = await call({ name: 'example__echo', arguments: { text: 'hé' } });
check('call', answer.content[0].text === 'hé', answer);

const steps = [];
const slow = await call({ name: 'example__slow', arguments: { ms: 600, steps: 3 } }, {
  onprogress: (progress) => steps.push(progress.progress),
});
check(`progress: ${steps.join(' ')}`, !slow.isError && steps.length >= 2, { steps, slow });

const abort = new AbortController();
const begun = Date.now();
const cut = call({ name: 'example__slow', arguments: { ms: 60000, steps: 600 } }, {
  signal: abort.signal,
  onprogress: () => abort.abort('the user thought better of it'),
});
const fault = await cut.then(() => null, (reason) => reason);
check('cancel', fault !== null && Date.now() - begun < 10000, { fault, took: Date.now() - begun });

const after = await call({ name: 'example__echo', arguments: { text: 'still here' } });
check('a call after it', after.content[0].text === 'still here', after);
const wrong = await call({ name: 'example__nothing', arguments: {} }).then(() => null, (reason) => reason);
check(`an unknown tool is refused: ${wrong?.code}`, wrong?.code === -32602, wrong);
if (isModern) {
  let told;
  const changed = new Promise((resolve) => (told = resolve));
  client.setNotificationHandler('notifications/tools/list_changed', told);
  const subscription = await client.listen({ toolsListChanged: true });
  const grown = await call({ name: 'example__grow', arguments: {} });
  await changed;
  const now = (await client.listTools(undefined, { cacheMode: 'refresh' })).tools.map((tool) => tool.name);
  check('told of a new tool', now.includes(`example__${grown.content[0].text}`), now);
  await subscription.close();
}
await client.close();
// Of a note and an answer in one read the SDK handles the answer first: it then wonders about the call's last step.
const harmless = (text) => /AbortError/.test(text) || /unknown token.*"progress":3,/.test(text);
check('no error beside', broken.every(harmless), broken);
