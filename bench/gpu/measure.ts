/** Node only. This project's side of bench/gpu: each measurement on an engine of its own, so that one failure is one row. */
import {
  add,
  autocast,
  createEngine,
  crossEntropy,
  describeTuning,
  expectF16,
  matmul,
  mul,
  to,
  tune,
} from '../../engine/node.ts';
import type { Engine, Recording, Tensor, VariantChoices } from '../../engine/node.ts';
import { byKernel } from '../../deit/profile.ts';
import { VisionTransformer } from '../../deit/models/deit.ts';
import type { Precision } from '../../deit/models/classifier.ts';
import { AdamW, GradScaler } from '../../nn/index.ts';
import { draw, IMAGE_STREAM, initialValues, MODELS } from './work.ts';
import type { ModelName, ModelRow, ModelSize, Timing } from './work.ts';

const SAMPLES = 5;
const LEAST_MS = 300;
const MOST_RUNS = 200;
const CHECKED = 64;

/** Runs `work` on a fresh engine, and says what went wrong if it cannot. */
export async function onEngine<Result>(
  work: (engine: Engine) => Promise<Result>,
  variants?: VariantChoices,
): Promise<Result | string> {
  const engine = await createEngine({ variants });
  try {
    return await work(engine);
  } catch (error) {
    return error instanceof Error ? error.message.split('\n')[0] : String(error);
  } finally {
    engine.close();
  }
}

async function medianMs(engine: Engine, run: () => void): Promise<number> {
  const time = async (runs: number): Promise<number> => {
    const start = performance.now();
    for (let i = 0; i < runs; i++) run();
    await engine.idle();
    return (performance.now() - start) / runs;
  };
  await time(1);
  const runs = Math.max(1, Math.min(MOST_RUNS, Math.floor(LEAST_MS / Math.max(0.001, await time(1)))));
  const samples: number[] = [];
  for (let i = 0; i < SAMPLES; i++) samples.push(await time(runs));
  return samples.sort((a, b) => a - b)[SAMPLES >> 1];
}

/** Matrix product of size n: ms, and the largest error of a sample against float64 of the operands, relative to sqrt(n). */
export async function measureMatmul(
  engine: Engine,
  n: number,
  precision: Precision,
): Promise<{ ms: number; error: number; kernel: string }> {
  const isF16 = precision === 'f16';
  if (isF16) expectF16(engine, 'f16 matmul');
  const operands = [1, 2].map((stream) => to(engine.tensor(draw(n * n, stream), [n, n]), precision).keep('input'));
  const [x, y] = operands;
  const [a, b] = await Promise.all(operands.map((operand) => to(operand, 'f32').read()));
  const results: Tensor[] = [];
  let kernel = '';
  const multiply = (): Tensor => (isF16 ? autocast(engine, () => matmul(x, y)) : matmul(x, y));
  const recording = engine.record(() =>
    engine.observe(
      (recorded) => (kernel = recorded.kernel),
      () => void results.push(multiply().keep('result')),
    ),
  );
  const ms = await medianMs(engine, () => engine.replay(recording));
  const product = await to(results[0], 'f32').read();
  let error = 0;
  for (let s = 0; s < CHECKED; s++) {
    const [i, j] = [(s * 7919) % n, (s * 104729) % n];
    let sum = 0;
    for (let k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j];
    error = Math.max(error, Math.abs(product[i * n + j] - sum) / Math.sqrt(n));
  }
  recording.release();
  return { ms, error, kernel };
}

function createModel(engine: Engine, name: ModelName, size: ModelSize): VisionTransformer {
  const { width, heads } = MODELS[name];
  const { image, patch, depth, classes } = size;
  const config = { imageSize: image, patchSize: patch, width, depth, heads, classes, distilled: true };
  const model = new VisionTransformer(engine, config);
  const parameters = [...model.namedParameters()].sort(([a], [b]) => (a < b ? -1 : 1));
  parameters.forEach(([key, tensor], stream) => tensor.write(initialValues(key, tensor.size, stream)));
  return model;
}

/** Measures, for `seconds` at most, by which variants a model trains fastest; the engine goes on with these. */
export async function tuneModel(
  engine: Engine,
  name: ModelName,
  size: ModelSize,
  precision: Precision,
  seconds: number,
): Promise<string> {
  if (precision === 'f16') expectF16(engine, name);
  const { image, batch } = size;
  const model = createModel(engine, name, size).train();
  model.precision = precision;
  const images = engine.zeros([batch, 3, image, image]).keep('input');
  const labels = engine.tensor(new Int32Array(batch), [batch], 'i32').keep('input');
  const work = (): void => {
    const { cls, dist } = model.heads(images);
    add(crossEntropy(cls, labels), crossEntropy(dist!, labels)).backward();
  };
  const report = await tune(engine, work, { seconds });
  for (const tensor of [images, labels, ...model.stateDict().values()]) engine.free(tensor);
  return describeTuning(report);
}

async function timing(engine: Engine, batch: number, recording: Recording, prepare: () => void): Promise<Timing> {
  const run = (): void => {
    prepare();
    engine.replay(recording);
  };
  const ms = await medianMs(engine, run);
  const times = engine.adapter.features.includes('timestamp-query') ? await engine.timeDispatches(run) : null;
  const kernelMs = times && times.reduce((sum, { durationNs }) => sum + durationNs, 0) / 1e6;
  return { imagesPerSecond: (1000 * batch) / ms, ms, kernelMs };
}

/** Forward pass and training step of one model at one batch size. */
export async function measureModel(
  engine: Engine,
  name: ModelName,
  size: ModelSize,
  batch: number,
  precision: Precision,
): Promise<ModelRow> {
  if (precision === 'f16') expectF16(engine, name);
  const model = createModel(engine, name, size).eval();
  model.precision = precision;
  const pixels = draw(batch * 3 * size.image ** 2, IMAGE_STREAM);
  const images = engine.tensor(pixels, [batch, 3, size.image, size.image]).keep('input');
  const labels = engine.tensor(
    Int32Array.from({ length: batch }, (_, i) => i % size.classes),
    [batch],
    'i32',
  );
  const kept: Tensor[] = [];
  const forward = engine.record(() =>
    engine.noGrad(() => {
      const { cls, dist } = model.heads(images);
      kept.push(cls.keep('result'), dist!.keep('result'));
    }),
  );
  const logits = (await Promise.all(kept.map((head) => head.read()))).map((head) => Array.from(head.slice(0, 8)));
  const forwardTiming = await timing(engine, batch, forward, () => undefined);
  forward.release();
  engine.trimMemory();

  model.train();
  const scaler = precision === 'f16' ? new GradScaler(engine) : null;
  const optimizer = new AdamW([{ parameters: model.namedParameters(), weightDecay: 0 }], { scaler });
  const lossOf: Tensor[] = [];
  optimizer.prepareStep(1e-4);
  const training = engine.record(() => {
    optimizer.zeroGrad();
    const { cls, dist } = model.heads(images);
    const loss = mul(add(crossEntropy(cls, labels), crossEntropy(dist!, labels)), 0.5);
    (scaler ? scaler.scale(loss) : loss).backward();
    optimizer.step();
    lossOf.push(loss.detach().keep('result'));
  });
  const losses = [(await lossOf[0].read())[0]];
  while (losses.length < 3) {
    optimizer.prepareStep(1e-4);
    engine.replay(training);
    losses.push((await lossOf[0].read())[0]);
  }
  const trainingTiming = await timing(engine, batch, training, () => optimizer.prepareStep(1e-4));
  const { peakBytes } = engine.memory();
  let kernels: Record<string, number> | undefined;
  if (trainingTiming.kernelMs !== null) {
    const times = byKernel(await engine.timeDispatches(() => engine.replay(training)));
    kernels = Object.fromEntries(times.slice(0, 12).map(({ kernel, ms }) => [kernel, Number(ms.toPrecision(4))]));
  }
  training.release();
  return { batch, logits, losses, forward: forwardTiming, training: trainingTiming, kernels, peakBytes };
}
