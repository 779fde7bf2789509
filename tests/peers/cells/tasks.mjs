// A server on the first official TypeScript SDK, which alone has tasks of 2025-11-25 of its own: one tool that is one.
// node tasks.mjs FOLDER-OF-THE-SDK
import { pathToFileURL } from 'node:url';

const [sdk] = process.argv.slice(2);
const part = async (path) => import(pathToFileURL(`${sdk}/dist/esm/${path}`));
const { Server } = await part('server/index.js');
const { StdioServerTransport } = await part('server/stdio.js');
const { InMemoryTaskMessageQueue, InMemoryTaskStore } = await part('experimental/tasks/stores/in-memory.js');
const { CallToolRequestSchema, ListToolsRequestSchema } = await part('types.js');

const capabilities = { tools: {}, tasks: { cancel: {}, list: {}, requests: { tools: { call: {} } } } };
const one = new Server({ name: 'cells-tasks', version: '1' }, {
  capabilities,
  taskMessageQueue: new InMemoryTaskMessageQueue(),
  taskStore: new InMemoryTaskStore(),
});
const inputSchema = { type: 'object', properties: { seconds: { type: 'number' } } };
one.setRequestHandler(ListToolsRequestSchema, () => ({
  tools: [{ name: 'task_compute', description: 'Takes its time, as a task.', inputSchema, execution: { taskSupport: 'required' } }],
}));
one.setRequestHandler(CallToolRequestSchema, async ({ params: { arguments: { seconds = 1 } = {} } }, { taskStore }) => {
  const task = await taskStore.createTask({ ttl: 60000, pollInterval: 50 });
  const content = [{ type: 'text', text: `task_compute is done after ${seconds} s` }];
  setTimeout(() => taskStore.storeTaskResult(task.taskId, 'completed', { content }), seconds * 1000);
  return { task };
});
await one.connect(new StdioServerTransport());
