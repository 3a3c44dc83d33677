/**
 * Node only. `node bench-gpu.mjs --out FILE [--torch FILE] [--small] [--minutes 5]`: matrix products and DeiT on this
 * machine's GPU, beside what torch_reference.py found on the same one. Batch 256 of every model first; larger batches
 * while there is time. What did not fit or was left out is named.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createEngine } from '../../engine/node.ts';
import { measureMatmul, measureModel, onEngine } from './measure.ts';
import { table } from './report.ts';
import { FULL, MODEL_NAMES, SMALL } from './work.ts';
import type { GpuReport, ModelName, ModelRow, TorchReport } from './work.ts';

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: 'bench-gpu.json' },
    torch: { type: 'string' },
    small: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '5' },
  },
});
const plan = values.small ? SMALL : FULL;
const end = performance.now() + Number(values.minutes) * 60_000;
const isLate = (): boolean => performance.now() > end;
const notMeasured = [
  'f16 matmul against cuBLAS f16: this engine computes products in f32',
  'training in f16 against AMP: compared with this engine in f32',
];

const first = await createEngine();
const { name: adapter, features, software } = first.adapter;
first.close();
if (software) notMeasured.push('a GPU: this adapter is the processor');
const torch = readTorch();

const matmul: Record<string, { ms: number; error: number } | { failure: string }> = {};
for (const n of plan.matmuls) {
  const found = await onEngine((engine) => measureMatmul(engine, n));
  matmul[n] = typeof found === 'string' ? { failure: found } : found;
  console.error(`matmul ${n}: ${JSON.stringify(matmul[n])}`);
}
const models: Record<string, ModelRow[]> = {};
for (const name of MODEL_NAMES) models[name] = [await measured(name, plan.model.batch)];
for (const name of MODEL_NAMES) {
  for (let batch = 2 * plan.model.batch; batch <= plan.model.largest; batch *= 2) {
    if (models[name].at(-1)!.failure) break;
    if (isLate()) {
      notMeasured.push(`${name} at batch ${batch} and more: no time left`);
      break;
    }
    models[name].push(await measured(name, batch));
  }
}
const report: GpuReport = {
  date: new Date().toISOString().slice(0, 10),
  node: process.versions.node,
  adapter,
  features,
  small: values.small,
  matmul,
  models,
  notMeasured,
  torch,
};
writeFileSync(values.out, `${JSON.stringify(report, null, 1)}\n`);
console.log(table(report));
console.log(`written to ${values.out}`);

async function measured(name: ModelName, batch: number): Promise<ModelRow> {
  const found = await onEngine((engine) => measureModel(engine, name, plan.model, batch));
  const result = typeof found === 'string' ? { batch, failure: found } : found;
  console.error(`${name}, batch ${batch}: ${JSON.stringify({ ...result, kernels: undefined })}`);
  return result;
}

function readTorch(): TorchReport | null {
  if (!values.torch) {
    notMeasured.push('PyTorch: no --torch file');
    return null;
  }
  try {
    return JSON.parse(readFileSync(values.torch, 'utf8')) as TorchReport;
  } catch (error) {
    notMeasured.push(`PyTorch: ${String(error)}`);
    return null;
  }
}
