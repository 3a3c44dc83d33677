/** Node only. Worker threads whose programs lie beside the code that starts them. */
import { Worker } from 'node:worker_threads';
import type { WorkerOptions } from 'node:worker_threads';

/**
 * Starts the program `name`, without its extension, that lies beside the module at `beside` (its `import.meta.url`). From TypeScript
 * sources the thread must first learn to read them, which tsx's loader does; built code needs nothing.
 */
export function startThread(beside: string, name: string, options: WorkerOptions = {}): Worker {
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL(`./${name}.js`, beside), options);
  const source = new URL(`./${name}.ts`, beside).href;
  const loader = import.meta.resolve('tsx/esm/api');
  const code = `import { register } from ${JSON.stringify(loader)}; register(); await import(${JSON.stringify(source)});`;
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), options);
}
