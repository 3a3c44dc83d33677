/**
 * f16 against f32: logits of the shipped DeiT-Ti on photographs, and the memory and dispatches that training takes.
 *
 *   npx tsx bench/precision.ts FOLDER [IMAGES]
 *
 * FOLDER holds images at any depth; IMAGES of them, evenly spread, are used (default 200).
 */
import { DeitError, createEngine, formatBytes } from '../engine/node.ts';
import { PhiloxStream, Purpose } from '../engine/index.ts';
import type { Engine } from '../engine/node.ts';
import {
  collectImages,
  decodeImage,
  describeModel,
  evaluationOf,
  openCheckpoint,
  resolveRecipe,
} from '../deit/node.ts';
import type { Overrides } from '../deit/node.ts';
import { buildModel } from '../deit/train/node/open-model.ts';
import { makeTransform } from '../deit/data/index.ts';
import { VisionTransformer } from '../deit/models/deit.ts';
import { planTraining } from '../deit/train/training-plan.ts';

const BATCH = 8;
const PLANNED_BATCH = 64;
const PLANS: readonly Overrides[] = [
  { 'model.name': 'deit_tiny_distilled_patch16_224' },
  { 'model.name': 'deit_small_distilled_patch16_224' },
  { 'model.name': 'deit_base_distilled_patch16_224' },
  {
    'model.name': 'deit_tiny_distilled_patch16_224',
    'distillation.type': 'hard',
    'teacher.model': 'regnety_160',
  },
  { 'model.name': 'regnety_016' },
];

const [folder, wanted = '200'] = process.argv.slice(2);
if (!folder) {
  process.stderr.write('usage: npx tsx bench/precision.ts FOLDER [IMAGES]\n');
  process.exit(1);
}
const engine = await createEngine();
if (!engine.profile.f16)
  throw new DeitError('feature-missing', 'This adapter has no f16.', { where: engine.adapter.name });
await compareLogits(engine, folder, Number(wanted));
for (const overrides of PLANS) await comparePlans(engine, overrides);
engine.close();

async function compareLogits(gpu: Engine, path: string, count: number): Promise<void> {
  const { model, spec } = await buildModel(gpu, { weights: 'shipped' }, () => undefined);
  if (!(model instanceof VisionTransformer)) throw new Error('the shipped model is a DeiT');
  const { imageSize, classes } = describeModel(spec);
  const { card } = await openCheckpoint('shipped');
  const transform = makeTransform(evaluationOf(card, imageSize));
  const still = new PhiloxStream(0, Purpose.augment);
  const { files: all } = await collectImages([path]);
  const files = Array.from({ length: Math.min(count, all.length) }, (_, i) =>
    all.at(Math.floor((i * all.length) / Math.min(count, all.length))),
  ).filter((file) => file !== undefined);
  const size = 3 * imageSize * imageSize;
  const images = gpu.empty([BATCH, 3, imageSize, imageSize]).keep('input');
  model.eval();
  const logitsOf = (precision: 'f32' | 'f16'): Promise<Float32Array> => {
    model.precision = precision;
    return gpu.scope(() => gpu.noGrad(() => model.forward(images, 'average').read())) as Promise<Float32Array>;
  };
  const errors: number[] = [];
  let sameTop1 = 0;
  let sameTop5 = 0;
  for (let first = 0; first < files.length; first += BATCH) {
    const pixels = new Float32Array(BATCH * size);
    const batch = files.slice(first, first + BATCH);
    for (const [i, file] of batch.entries()) transform(await decodeImage(file), still, pixels, i * size);
    images.write(pixels);
    const [f32, f16] = [await logitsOf('f32'), await logitsOf('f16')];
    batch.forEach((_, i) => {
      const row = (logits: Float32Array): Float32Array => logits.subarray(i * classes, (i + 1) * classes);
      const [exact, half] = [row(f32), row(f16)];
      errors.push(Math.hypot(...half.map((value, k) => value - exact[k])) / Math.hypot(...exact));
      const [top, topHalf] = [ranking(exact), ranking(half)];
      sameTop1 += Number(top[0] === topHalf[0]);
      sameTop5 += Number(new Set([...top.slice(0, 5), ...topHalf.slice(0, 5)]).size === 5);
    });
  }
  errors.sort((a, b) => a - b);
  const n = errors.length;
  console.log(`${spec} on ${n} images, ${gpu.adapter.name}`);
  console.log(
    `relative error of the logits in f16: median ${errors[n >> 1].toExponential(1)}, largest ${errors[n - 1].toExponential(1)}`,
  );
  console.log(`the same top-1 class: ${sameTop1} of ${n}; the same five likeliest: ${sameTop5} of ${n}`);
}

function ranking(logits: Float32Array): number[] {
  return Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
}

async function comparePlans(gpu: Engine, overrides: Overrides): Promise<void> {
  const common = { 'data.batchSize': PLANNED_BATCH, 'augment.mixup': 0, 'augment.cutmix': 0 };
  const plans = [];
  for (const precision of ['f32', 'f16']) {
    const recipe = resolveRecipe({ ...common, ...overrides, 'model.precision': precision }, {});
    plans.push(await planTraining(gpu, recipe, 1000, { search: false }));
  }
  const cells = plans.map(
    ({ peakBytes, parts, dispatches }) =>
      `${formatBytes(peakBytes)} (activations ${formatBytes(parts.activations)}; ${dispatches} dispatches a step)`,
  );
  const what = Object.values(overrides).join(', ');
  console.log(`training ${what}, batch ${PLANNED_BATCH}: f32 ${cells[0]}, f16 ${cells[1]}`);
}
