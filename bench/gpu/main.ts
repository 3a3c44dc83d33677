/**
 * Node only. `node bench-gpu.mjs --out FILE [--torch FILE] [--small] [--minutes 5]`: first whether
 * this machine's GPU computes right (every operator, a distilled run, teachers' logits), then the tuner, then times of matrix
 * products and DeiT beside what torch_reference.py found on the same one: batch 256 of every model, larger ones while there
 * is time. What did not fit or was left out is named. The file is written after each part.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Precision } from '../../deit/models/classifier.ts';
import { createEngine } from '../../engine/node.ts';
import type { Engine, VariantChoices } from '../../engine/node.ts';
import { checkOperators, checkTeachers, checkTraining } from '../../test/support/golden-checks.ts';
import { measureMatmul, measureModel, onEngine, tuneModel } from './measure.ts';
import { table } from './report.ts';
import { FULL, MODEL_NAMES, SMALL } from './work.ts';
import type { Correctness, GpuReport, MatmulRow, ModelName, ModelRow, TorchReport } from './work.ts';

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
const report: GpuReport = {
  date: new Date().toISOString().slice(0, 10),
  node: process.versions.node,
  adapter,
  features,
  small: values.small,
  isComplete: false,
  correctness: null,
  tuning: {},
  matmul: {},
  matmulF16: {},
  models: {},
  modelsF16: {},
  notMeasured,
  torch: readTorch(),
};
const save = (): void => writeFileSync(values.out, `${JSON.stringify(report, null, 1)}\n`);
save();

report.correctness = await checked();
save();
const variants = await tuned();
await measureMatmuls('f32', report.matmul);
await measureMatmuls('f16', report.matmulF16);
for (const name of MODEL_NAMES) {
  await measure(name, plan.model.batch, 'f32', report.models);
  await measure(name, plan.model.batch, 'f16', report.modelsF16);
}
for (const name of MODEL_NAMES) {
  for (let batch = 2 * plan.model.batch; batch <= plan.model.largest; batch *= 2) {
    if (report.models[name].at(-1)!.failure) break;
    if (isLate()) {
      notMeasured.push(`${name} at batch ${batch} and more: no time left`);
      break;
    }
    await measure(name, batch, 'f32', report.models);
  }
}
report.isComplete = true;
save();
console.log(table(report));
console.log(`written to ${values.out}`);

/** Before anything is timed: whether this GPU gets it right. */
async function checked(): Promise<Correctness> {
  const part = async <Result>(what: string, work: (engine: Engine) => Promise<Result>) => {
    const found = await onEngine(work);
    const result = typeof found === 'string' ? { failure: found } : found;
    console.error(`${what}: ${typeof found === 'string' ? found : 'compared with PyTorch in float64'}`);
    return result;
  };
  return {
    operators: await part('operators', checkOperators),
    training: await part('a distilled run of 20 steps', (engine) => checkTraining(engine, 20)),
    teachers: await part('logits of teachers', checkTeachers),
  };
}

/** The fastest variants for the training steps that are timed below. */
async function tuned(): Promise<VariantChoices | undefined> {
  const share = Math.min(20, (Number(values.minutes) * 60) / (4 * 2 * MODEL_NAMES.length));
  let choices: VariantChoices | undefined;
  for (const precision of ['f32', 'f16'] as const) {
    for (const name of MODEL_NAMES) {
      const found = await onEngine(async (engine) => {
        const summary = await tuneModel(engine, name, plan.model, precision, share);
        choices = engine.variants.export();
        return { summary };
      }, choices);
      report.tuning[`${name} ${precision}`] = typeof found === 'string' ? found : found.summary;
      console.error(`${name} in ${precision}: ${report.tuning[`${name} ${precision}`]}`);
      save();
    }
  }
  return choices;
}

async function measureMatmuls(precision: Precision, rows: Record<string, MatmulRow>): Promise<void> {
  for (const n of plan.matmuls) {
    const found = await onEngine((engine) => measureMatmul(engine, n, precision));
    rows[n] = typeof found === 'string' ? { failure: found } : found;
    console.error(`${precision} matmul ${n}: ${JSON.stringify(rows[n])}`);
    save();
  }
}

async function measure(
  name: ModelName,
  batch: number,
  precision: Precision,
  rows: Record<string, ModelRow[]>,
): Promise<void> {
  const found = await onEngine((engine) => measureModel(engine, name, plan.model, batch, precision), variants);
  const result = typeof found === 'string' ? { batch, failure: found } : found;
  (rows[name] ??= []).push(result);
  console.error(`${name} in ${precision}, batch ${batch}: ${JSON.stringify({ ...result, kernels: undefined })}`);
  save();
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
