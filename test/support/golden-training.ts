/** The training runs of test/golden/training.json, done by this engine. */
import type { Engine, Recording } from '../../engine/index.ts';
import { AdamW, SGD, decayGroups, readTensors, stateValues } from '../../nn/index.ts';
import type { StateValue } from '../../nn/index.ts';
import { distillationLoss } from '../../deit/distillation.ts';
import { relativeError } from './relative-error.ts';
import { goldenJson, goldenTensors } from './golden.ts';
import { goldenDistillation, goldenModel, goldenModels, goldenSmoothing } from './golden-models.ts';
import type { GoldenModel } from './golden-models.ts';
import { integers, sketch, uniform, weight } from './generator.ts';

export interface GoldenRun {
  key: string;
  stream: string;
  model: string;
  kind: string;
  mixed: boolean;
  batch: number;
  /** Classes that occur. */
  seen: number;
  /** Amplitude of the noise on the images. */
  noise: number;
  /** What is added to the bias of every batch norm at the start. */
  shift: number;
  optimizer: 'adamw' | 'sgd';
  options: { betas: [number, number]; eps: number; momentum: number; nesterov: boolean; weightDecay: number };
  lr: number[];
  noDecay: string[];
  names: string[];
  final: 'full' | 'sketch';
  file: string;
}

export const goldenRuns = goldenJson<{ runs: GoldenRun[] }>('training.json').runs;

interface Batch {
  images: Float32Array;
  labels: Int32Array;
  /** Distributions over the classes, where the batch is mixed. */
  targets: Float32Array;
  teacher: Float32Array;
}

/** The batch of a step; test/golden/README.md has the formula. */
function batchOf({ stream, batch, seen, noise, mixed }: GoldenRun, golden: GoldenModel, step: number): Batch {
  const { imageSize, classes } = golden;
  const draw = (what: string, count: number, center: number, scale: number) =>
    uniform(`training.${stream}.${what}`, count, center, scale);
  const labels = integers(`training.${stream}.labels.${step}`, batch, seen);
  const pixels = 3 * imageSize ** 2;
  const images = draw(`noise.${step}`, batch * pixels, 0, noise);
  labels.forEach((label, image) => {
    const pattern = draw(`pattern.${label}`, pixels, 0, 1);
    for (let i = 0; i < pixels; i++) images[image * pixels + i] += pattern[i];
  });
  const teacher = draw(`teacher.${step}`, batch * classes, 0, 1);
  labels.forEach((label, image) => (teacher[image * classes + label] += 3));
  const smooth = Float64Array.from({ length: batch * classes }, () => goldenSmoothing / classes);
  labels.forEach((label, image) => (smooth[image * classes + label] = 1 - goldenSmoothing + goldenSmoothing / classes));
  if (!mixed) return { images, labels, targets: Float32Array.from(smooth), teacher };
  const share = 0.5 + 0.5 * draw(`lambda.${step}`, 1, 0.5, 0.5)[0];
  const mix = (data: Float32Array | Float64Array, row: number): Float32Array =>
    Float32Array.from(data, (value, i) => {
      const partner = (batch - 1 - Math.floor(i / row)) * row + (i % row);
      return share * value + (1 - share) * data[partner];
    });
  return { images: mix(images, pixels), labels, targets: mix(smooth, classes), teacher };
}

/** What a run came to. */
export interface TrainedGolden {
  /** Loss before each step. */
  readonly losses: number[];
  /** All weights and running statistics at the end. */
  readonly state: Map<string, StateValue>;
  /** Parameters that were not decayed. */
  readonly noDecay: string[];
}

/**
 * Trains as the run says, for `steps` steps. With `replay` the step is recorded once and replayed, otherwise each is a
 * scope of its own. `onStep` hears the loss of each step.
 */
export async function trainGolden(
  engine: Engine,
  run: GoldenRun,
  options: { steps?: number; replay?: boolean; onStep?: (step: number, loss: number) => void } = {},
): Promise<TrainedGolden> {
  const { steps = run.lr.length, replay = true, onStep } = options;
  const golden = goldenModels.find(({ key }) => key === run.model)!;
  const { imageSize, classes } = golden;
  const model = goldenModel(engine, golden);
  for (const [name, bias] of model.namedParameters()) {
    if (name.endsWith('bn.bias')) bias.write(weight(name, bias.shape).map((value) => value + run.shift));
  }
  // PyTorch's optimizers pass over a parameter that has no gradient.
  const idle = run.kind === 'none' ? 'head_dist.' : '(none)';
  for (const [name, parameter] of model.namedParameters()) parameter.requiresGrad_(!name.startsWith(idle));
  const groups = decayGroups(model.namedParameters(), run.options.weightDecay, 'timm');
  const optimizer = run.optimizer === 'adamw' ? new AdamW(groups, run.options) : new SGD(groups, run.options);
  const exempt = groups.filter(({ weightDecay }) => weightDecay === 0).flatMap(({ parameters }) => parameters);

  const images = engine.zeros([run.batch, 3, imageSize, imageSize]).keep();
  const labels = engine.empty([run.batch], 'i32').keep();
  const targets = engine.zeros([run.batch, classes]).keep();
  const teacher = engine.zeros([run.batch, classes]).keep();
  const loss = engine.zeros([]).keep();
  const distillation = goldenDistillation(run.kind);
  const work = (): void => {
    optimizer.zeroGrad();
    const output = model.heads(images);
    const target = run.mixed ? { distribution: targets } : { labels, smoothing: goldenSmoothing };
    const { total } = distillationLoss(distillation, output, target, teacher);
    total.backward();
    optimizer.step();
    engine.copy(total, loss);
  };
  let recording: Recording | null = null;
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const batch = batchOf(run, golden, step);
    images.write(batch.images);
    labels.write(batch.labels);
    targets.write(batch.targets);
    teacher.write(batch.teacher);
    optimizer.prepareStep(run.lr[step]);
    if (recording) engine.replay(recording);
    else if (replay) recording = engine.record(work);
    else engine.scope(work);
    losses.push(await loss.item());
    onStep?.(step, losses[step]);
  }
  const state = stateValues(await readTensors(model.stateDict()));
  recording?.release();
  optimizer.free();
  for (const tensor of [images, labels, targets, teacher, loss, ...model.stateDict().values()]) engine.free(tensor);
  return { losses, state, noDecay: exempt.map(([name]) => name) };
}

/** One loss or tensor of a run beside PyTorch's in float64. */
export interface Comparison {
  readonly what: string;
  /** Relative. */
  readonly error: number;
  /** The larger of 1e-4 and three times what PyTorch's own float32 runs part from float64 by. */
  readonly allowed: number;
}

/**
 * The bias of K has a true gradient of zero, since softmax ignores what it adds to a row, and Adam makes steps of the
 * rounding of that zero: the golden values have it zeroed, and so must what is compared with them.
 */
function withoutKeyBias(name: string, data: ArrayLike<number>): ArrayLike<number> {
  if (!name.endsWith('attn.qkv.bias')) return data;
  const third = data.length / 3;
  return Array.from(data, (value, i) => (Math.floor(i / third) === 1 ? 0 : value));
}

/** Every loss, and every tensor of the final state, against the golden run. */
export function compareRun(
  run: GoldenRun,
  { losses, state }: TrainedGolden,
): { losses: Comparison[]; state: Comparison[] } {
  const stored = goldenTensors(run.file);
  const golden = (name: string) => stored(`${run.key}.${name}`).values;
  const allowed = (drift: number): number => Math.max(1e-4, 3 * drift);
  const [expected, lossDrift, drift] = [golden('loss'), golden('lossDrift'), golden('drift')];
  const tensorError = (name: string, i: number): number => {
    const found = withoutKeyBias(name, state.get(name)!.data);
    if (run.final === 'full') return relativeError(found, golden(`final.${name}`));
    // Random projections stand for the tensor: their error is that of the tensor, up to chance.
    return relativeError(sketch(name, found).projections, golden('projections').slice(16 * i, 16 * i + 16));
  };
  return {
    losses: losses.map((loss, step) => ({
      what: `loss of step ${step}`,
      error: Math.abs(loss / expected[step] - 1),
      allowed: allowed(lossDrift[step]),
    })),
    state: run.names.map((name, i) => ({ what: name, error: tensorError(name, i), allowed: allowed(drift[i]) })),
  };
}
