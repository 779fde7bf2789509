// The official TypeScript SDK's client, as its users have it, against Sentinel: list, call, progress, cancel.
// node sdk.mjs FOLDER-OF-THE-SDK http URL TOKEN   |   node sdk.mjs FOLDER-OF-THE-SDK stdio COMMAND ARGS…
import { pathToFileURL } from 'node:url';

const [sdk, kind, ...rest] = process.argv.slice(2);
const part = async (path) => import(pathToFileURL(`${sdk}/dist/esm/${path}`));
const { Client } = await part('client/index.js');

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

const client = new Client({ name: 'peers-typescript', version: '1.0.0' });
const broken = [];
client.onerror = (fault) => broken.push(String(fault));
await client.connect(await transport());
const { tools } = await client.listTools();
const names = tools.map((tool) => tool.name);
check(`list: ${tools.length} tools`, names.includes('example__slow') && names.includes('example__echo'), names);

const answer = await client.callTool({ name: 'example__echo', arguments: { text: 'hé' } });
check('call', answer.content[0].text === 'hé', answer);

const steps = [];
const slow = await client.callTool({ name: 'example__slow', arguments: { ms: 600, steps: 3 } }, undefined, {
  onprogress: (progress) => steps.push(progress.progress),
});
check(`progress: ${steps.join(' ')}`, !slow.isError && steps.length >= 2, { steps, slow });

const abort = new AbortController();
const begun = Date.now();
const cut = client.callTool({ name: 'example__slow', arguments: { ms: 60000, steps: 600 } }, undefined, {
  signal: abort.signal,
  onprogress: () => abort.abort('the user thought better of it'),
});
const fault = await cut.then(() => null, (reason) => reason);
check('cancel', fault !== null && Date.now() - begun < 10000, { fault, took: Date.now() - begun });

const after = await client.callTool({ name: 'example__echo', arguments: { text: 'still here' } });
check('a call after it', after.content[0].text === 'still here', after);
const wrong = await client.callTool({ name: 'example__nothing', arguments: {} }).then(() => null, (reason) => reason);
check(`an unknown tool is refused: ${wrong?.code}`, wrong?.code === -32602, wrong);
await client.close();
check('no error beside', broken.filter((text) => !/AbortError/.test(text)).length === 0, broken);
