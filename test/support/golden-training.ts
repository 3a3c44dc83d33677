/** The training runs of test/golden/training.json, done by this engine. */
import type { Engine } from '../../engine/index.ts';
import { AdamW, SGD, decayGroups, readTensors, stateValues } from '../../nn/index.ts';
import { distillationLoss } from '../../deit/distillation.ts';
import { goldenJson } from './golden.ts';
import { goldenDistillation, goldenModel, goldenModels, goldenSmoothing } from './golden-models.ts';
import type { GoldenModel } from './golden-models.ts';
import { integers, uniform } from './generator.ts';

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

/** Trains as the run says, with the step recorded once and replayed; returns the losses and the final state. */
export async function trainGolden(engine: Engine, run: GoldenRun, steps = run.lr.length) {
  const golden = goldenModels.find(({ key }) => key === run.model)!;
  const { imageSize, classes } = golden;
  const model = goldenModel(engine, golden);
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
  const record = () =>
    engine.record(() => {
      optimizer.zeroGrad();
      const output = model.heads(images);
      const target = run.mixed ? { distribution: targets } : { labels, smoothing: goldenSmoothing };
      const { total } = distillationLoss(distillation, output, target, teacher);
      total.backward();
      optimizer.step();
      engine.copy(total, loss);
    });
  let recording: ReturnType<typeof record> | null = null;
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const batch = batchOf(run, golden, step);
    images.write(batch.images);
    labels.write(batch.labels);
    targets.write(batch.targets);
    teacher.write(batch.teacher);
    optimizer.prepareStep(run.lr[step]);
    if (recording) engine.replay(recording);
    else recording = record();
    losses.push(await loss.item());
  }
  const state = stateValues(await readTensors(model.stateDict()));
  recording?.release();
  return { losses, state, noDecay: exempt.map(([name]) => name) };
}
