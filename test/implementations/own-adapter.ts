/** Run in Deno: the engine on an adapter of the runtime's own WebGPU, as engine/IMPLEMENTATIONS.md shows it. */
import { createEngine, softmax } from '../../engine/node.ts';

const adapter = await navigator.gpu.requestAdapter();
const engine = await createEngine({ adapter: adapter! });
const [quarter] = await softmax(engine.tensor([[0, Math.log(3)]])).read();
console.log(JSON.stringify({ choice: engine.adapter.choice, quarter: Number(quarter.toFixed(6)) }));
engine.close();
