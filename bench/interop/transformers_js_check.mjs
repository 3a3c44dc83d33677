/**
 * Does transformers.js load the folders of `deit export --format huggingface`, and give the same logits?
 *
 *     ONNXRUNTIME_NODE_INSTALL=skip npm install --prefix bench/interop   # skip: a download for CUDA, which is not needed
 *     npx tsx bench/interop/transformers_js_check.mjs
 *
 * Models: the shipped DeiT-Ti; a distilled one and a RegNetY as they are initialised. transformers.js has no class for
 * RegNet: its AutoModel runs it, its AutoModelForImageClassification and pipelines refuse it.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoModel, AutoModelForImageClassification, RawImage, Tensor, env, pipeline } from '@huggingface/transformers';
import { averageLogits } from '../../deit/logits.ts';
import { createModel, describeModel, saveModel } from '../../deit/node.ts';
import { createEngine } from '../../engine/node.ts';
import { ForwardPass } from '../../deit/forward-pass.ts';
import { openModel } from '../../deit/cli/model-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'deit-transformers-js-'));
env.allowRemoteModels = false;
env.localModelPath = folder;
const engine = await createEngine({ seed: 1 });
const deit = (...args) =>
  execFileSync('npx', ['tsx', 'deit/cli/main.ts', ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
const results = [];

/** Exports weights and compares logits of both sides for images of noise. */
async function check(name, weights, Auto) {
  deit('export', '--weights', weights, '--format', 'huggingface', '--output', join(folder, name));
  const { model, spec } = await openModel(engine, { weights }, console.error);
  const { imageSize } = describeModel(spec);
  const count = 2;
  const pixels = Float32Array.from(
    { length: count * 3 * imageSize ** 2 },
    (_, i) => 2 * Math.sin(0.37 * i) * Math.cos(0.0071 * i),
  );
  const ours = averageLogits(await new ForwardPass(engine, model, count, imageSize).run(pixels, () => 'noise'));
  const theirs = await Auto.from_pretrained(name, { dtype: 'fp32' });
  const { logits } = await theirs({ pixel_values: new Tensor('float32', pixels, [count, 3, imageSize, imageSize]) });
  const apart = ours.reduce((most, value, i) => Math.max(most, Math.abs(value - logits.data[i])), 0);
  console.log(
    `${name}: ${theirs.constructor.name}, logits [${logits.dims}] differ by ${apart.toExponential(1)} at most`,
  );
  results.push(apart < 1e-5);
}

async function initialised(spec) {
  const { imageSize, classes } = describeModel(spec);
  const path = join(folder, `${spec.split(' ')[0]}.safetensors`);
  const card = {
    model: spec,
    classes: Array.from({ length: classes }, (_, i) => `class ${i}`),
    imageSize,
    cropPct: 0.875,
    interpolation: 'bicubic',
    data: 'nothing',
  };
  await saveModel(path, createModel(engine, spec), card);
  return path;
}

await check('shipped', 'shipped', AutoModelForImageClassification);
await check(
  'distilled',
  await initialised('deit_tiny_distilled_patch16_224 depth=3 num_classes=5'),
  AutoModelForImageClassification,
);
await check('regnety', await initialised('regnety_002 img_size=96 num_classes=5'), AutoModel);

// The whole way, file to names. transformers.js resamples by other rules, so that probabilities are near, not equal.
const photo = new RawImage(
  Uint8ClampedArray.from({ length: 300 * 260 * 3 }, (_, i) => 127 + 120 * Math.sin(0.01 * i)),
  300,
  260,
  3,
);
const file = join(folder, 'photo.png');
await photo.save(file);
const classify = await pipeline('image-classification', 'shipped', { dtype: 'fp32' });
const [best] = await classify(file);
const printed = execFileSync('npx', ['tsx', 'deit/cli/main.ts', 'predict', '--json', file], {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'ignore'],
});
const [ours] = JSON.parse(printed).top5;
console.log(
  `a picture: ${best.label} ${best.score.toFixed(4)} there, ${ours.name} ${ours.probability.toFixed(4)} here`,
);
results.push(best.label === ours.name && Math.abs(best.score - ours.probability) < 0.05);

engine.close();
rmSync(folder, { recursive: true, force: true });
process.exitCode = results.every(Boolean) ? 0 : 1;
