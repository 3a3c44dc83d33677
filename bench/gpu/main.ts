/**
 * Node only. `node bench-gpu.mjs --out FILE [--torch FILE] [--small] [--minutes 5]`: matrix products and DeiT on this
 * machine's GPU, beside what torch_reference.py found on the same one. Batch 256 of every model first; larger batches
 * while there is time. What did not fit or was left out is named.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Precision } from '../../deit/models/classifier.ts';
import { createEngine } from '../../engine/node.ts';
import { measureMatmul, measureModel, onEngine } from './measure.ts';
import { table } from './report.ts';
import { FULL, MODEL_NAMES, SMALL } from './work.ts';
import type { GpuReport, MatmulRow, ModelName, ModelRow, TorchReport } from './work.ts';

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
const notMeasured: string[] = [];

const first = await createEngine();
const { name: adapter, features, software } = first.adapter;
first.close();
if (software) notMeasured.push('a GPU: this adapter is the processor');
const torch = readTorch();

const matmul = await measuredMatmuls('f32');
const matmulF16 = await measuredMatmuls('f16');
const models: Record<string, ModelRow[]> = {};
const modelsF16: Record<string, ModelRow[]> = {};
for (const name of MODEL_NAMES) {
  models[name] = [await measured(name, plan.model.batch, 'f32')];
  modelsF16[name] = [await measured(name, plan.model.batch, 'f16')];
}
for (const name of MODEL_NAMES) {
  for (let batch = 2 * plan.model.batch; batch <= plan.model.largest; batch *= 2) {
    if (models[name].at(-1)!.failure) break;
    if (isLate()) {
      notMeasured.push(`${name} at batch ${batch} and more: no time left`);
      break;
    }
    models[name].push(await measured(name, batch, 'f32'));
  }
}
const report: GpuReport = {
  date: new Date().toISOString().slice(0, 10),
  node: process.versions.node,
  adapter,
  features,
  small: values.small,
  matmul,
  matmulF16,
  models,
  modelsF16,
  notMeasured,
  torch,
};
writeFileSync(values.out, `${JSON.stringify(report, null, 1)}\n`);
console.log(table(report));
console.log(`written to ${values.out}`);

async function measuredMatmuls(precision: Precision): Promise<Record<string, MatmulRow>> {
  const rows: Record<string, MatmulRow> = {};
  for (const n of plan.matmuls) {
    const found = await onEngine((engine) => measureMatmul(engine, n, precision));
    rows[n] = typeof found === 'string' ? { failure: found } : found;
    console.error(`${precision} matmul ${n}: ${JSON.stringify(rows[n])}`);
  }
  return rows;
}

async function measured(name: ModelName, batch: number, precision: Precision): Promise<ModelRow> {
  const found = await onEngine((engine) => measureModel(engine, name, plan.model, batch, precision));
  const result = typeof found === 'string' ? { batch, failure: found } : found;
  console.error(`${name} in ${precision}, batch ${batch}: ${JSON.stringify({ ...result, kernels: undefined })}`);
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
