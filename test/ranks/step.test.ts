/** A training step on several ranks is the step of one process: ranks within this process, an engine each. */
import { describe, expect, it } from 'vitest';
import type { Batch } from '../../deit/train/batches.ts';
import { deitMixing } from '../../deit/data/index.ts';
import type { Distillation } from '../../deit/distillation.ts';
import { createModel } from '../../deit/models/registry.ts';
import { oneProcess } from '../../deit/parallel/communicator.ts';
import type { Communicator } from '../../deit/parallel/communicator.ts';
import { TrainStep } from '../../deit/train/step.ts';
import type { ParallelOptions, StepMetrics, Wishes } from '../../deit/train/step.ts';
import { createEngine } from '../../engine/node.ts';
import { AdamW, Ema, GradScaler, SGD, decayGroups } from '../../nn/index.ts';
import type { Optimizer } from '../../nn/index.ts';
import { uniform } from '../support/close.ts';
import { ranksInProcess } from '../support/ranks.ts';

const STUDENT =
  'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=2 heads=3 num_classes=10 drop_path=0.3';
const TEACHER = 'regnety_002 w0=16 wa=8 wm=2.0 depth=3 group_width=8 num_classes=10';
const SIZE = 4;
const PIXELS = 3 * 32 * 32;

interface Training {
  readonly slices: number;
  readonly steps: number;
  readonly model?: string;
  readonly distillation?: Distillation['type'];
  readonly precision?: 'f32' | 'f16';
  readonly wire?: 'f32' | 'f16';
  readonly bucketBytes?: number;
  readonly scale?: number;
  /** Changes a slice before its step. */
  readonly spoil?: (batch: Batch, step: number) => void;
  readonly nonFinite?: 'stop' | 'skip';
  readonly wishes?: (rank: number, step: number) => Wishes;
}

interface Outcome {
  readonly metrics: StepMetrics[];
  readonly agreed: Wishes[];
  readonly state: Map<string, Float32Array>;
  readonly average: Map<string, Float32Array>;
  readonly counted: number;
  /** After every step. */
  readonly memory: string[];
  readonly plan: { plannedBytes: number; leastBytes: number };
}

/** The slice of this number: the same numbers on whatever rank. */
function slice(number: number): Batch {
  const images = uniform(SIZE * PIXELS, 100 + number);
  const labels = Int32Array.from({ length: SIZE }, (_, i) => (number + 3 * i) % 10);
  return { epoch: 0, number, size: SIZE, images, labels };
}

const values = async (tensors: ReadonlyMap<string, { read(): Promise<ArrayLike<number>> }>) =>
  new Map(
    await Promise.all(
      [...tensors].map(async ([name, tensor]) => [name, Float32Array.from(await tensor.read())] as const),
    ),
  );

async function trainRank(ranks: Communicator, training: Training): Promise<Outcome> {
  const { slices, steps, distillation = 'hard', precision = 'f32', wire = 'f32', bucketBytes = 2 ** 16 } = training;
  const engine = await createEngine({ seed: 7, debug: false });
  const student = createModel(engine, training.model ?? STUDENT);
  const isDeit = student.distilled;
  student.precision = precision;
  const teacher = distillation === 'none' ? null : createModel(engine, TEACHER).requiresGrad_(false).eval();
  const groups = decayGroups(student.namedParameters(), 0.05);
  const scaler =
    precision === 'f16' || wire === 'f16' ? new GradScaler(engine, { initScale: training.scale ?? 2 ** 16 }) : null;
  const common = { skipNonFinite: true, gradientScale: 1 / slices, maxNorm: 1, scaler };
  const optimizer: Optimizer = isDeit ? new AdamW(groups, common) : new SGD(groups, { ...common, momentum: 0.9 });
  const ema = new Ema(student, optimizer, 0.9);
  student.train();
  const parallel: ParallelOptions = { ranks, bucketBytes, wire };
  const trainStep = new TrainStep({
    engine,
    student,
    teacher: teacher,
    optimizer,
    ema,
    distillation: { type: distillation, alpha: 0.5, tau: 3, scaling: 'all' },
    smoothing: 0.1,
    mixing: isDeit ? deitMixing : null,
    batchSize: SIZE,
    accumulate: slices,
    imageSize: 32,
    nonFinite: training.nonFinite,
    parallel,
  });
  const own = slices / ranks.size;
  const [metrics, agreed, memory]: [StepMetrics[], Wishes[], string[]] = [[], [], []];
  for (let step = 0; step < steps; step++) {
    const batches = Array.from({ length: own }, (_, i) => slice(step * slices + ranks.rank * own + i));
    for (const batch of batches) training.spoil?.(batch, step);
    const wishes = () => training.wishes?.(ranks.rank, step) ?? { stop: false, fit: false, tell: false };
    const begun = trainStep.begin(batches, step, 1e-3, wishes);
    agreed.push(await begun.agreed());
    metrics.push(await begun.metrics);
    const { totalBytes, buffers } = engine.memory();
    memory.push(`${totalBytes} bytes in ${buffers} buffers`);
  }
  const recordings = (trainStep as unknown as { recordings: Map<string, { transientMemory: Outcome['plan'] }> })
    .recordings;
  const plans = [...recordings.values()].map(({ transientMemory }) => transientMemory);
  const sum = (key: keyof Outcome['plan']): number => plans.reduce((total, plan) => total + plan[key], 0);
  const counters = student.namedCounters().map(([, counter]) => counter.value);
  const outcome = {
    metrics,
    agreed,
    memory,
    state: await values(student.stateDict()),
    average: await values(ema.stateDict()),
    counted: counters[0] ?? 0,
    plan: { plannedBytes: sum('plannedBytes'), leastBytes: sum('leastBytes') },
  };
  trainStep.release();
  engine.close();
  return outcome;
}

const trainRanks = (size: number, training: Training): Promise<Outcome[]> =>
  Promise.all((size === 1 ? [oneProcess] : ranksInProcess(size)).map((ranks) => trainRank(ranks, training)));

/** The largest difference between two states, element by element. */
function largestDifference(a: Map<string, Float32Array>, b: Map<string, Float32Array>): number {
  expect([...a.keys()]).toEqual([...b.keys()]);
  let largest = 0;
  for (const [name, own] of a)
    own.forEach((value, i) => (largest = Math.max(largest, Math.abs(value - b.get(name)![i]))));
  return largest;
}

/** Every rank against one process: losses and weights may differ by so much, both relative to 1. */
function expectSameRun(ranks: readonly Outcome[], one: Outcome, losses: number, weights: number): void {
  for (const rank of ranks) {
    rank.metrics.forEach(({ loss, accuracy, gradNorm }, step) => {
      const expected = one.metrics[step];
      expect(accuracy).toBe(expected.accuracy);
      if (Number.isNaN(expected.loss)) expect(loss).toBeNaN();
      else expect(Math.abs(loss - expected.loss)).toBeLessThanOrEqual(losses);
      // The norm leaves out what is not finite.
      const isWhole = expected.nonFinite === 0 && !expected.lossScale?.overflowed;
      if (isWhole) expect(Math.abs(gradNorm / expected.gradNorm - 1)).toBeLessThanOrEqual(1e-5);
    });
    expect(largestDifference(rank.state, one.state)).toBeLessThanOrEqual(weights);
    expect(largestDifference(rank.average, one.average)).toBeLessThanOrEqual(weights);
    // All ranks compute the same update of the same sums.
    expect(largestDifference(rank.state, ranks[0].state)).toBe(0);
  }
}

describe('a step on several ranks is that of one process', () => {
  it('to the bit with two slices on two ranks: every augmentation of a step, moving average, clipping', async () => {
    const training: Training = { slices: 2, steps: 5, distillation: 'hard' };
    const [one] = await trainRanks(1, training);
    // Two numbers have one sum, so nothing differs but how often the loss was rounded.
    expectSameRun(await trainRanks(2, training), one, 3e-7, 0);
    // In one bucket at the end, too.
    expectSameRun(await trainRanks(2, { ...training, bucketBytes: Infinity }), one, 3e-7, 0);
  });

  it('up to rounding where the slices are added in another order', async () => {
    const training: Training = { slices: 4, steps: 5, distillation: 'soft' };
    const [one] = await trainRanks(1, training);
    // (a + b) + (c + d) for ((a + b) + c) + d; Adam makes steps of 1e-3 out of gradients that are nothing but rounding.
    expectSameRun(await trainRanks(2, training), one, 1e-6, 1e-5);
  });

  it('with batch norms: running statistics and the count of batches are those of one process', async () => {
    const training: Training = { slices: 3, steps: 4, model: TEACHER, distillation: 'none' };
    const [one] = await trainRanks(1, training);
    const three = await trainRanks(3, training);
    expectSameRun(three, one, 1e-6, 1e-5);
    expect(one.counted).toBe(12);
    expect(three.map(({ counted }) => counted)).toEqual([12, 12, 12]);
  });

  it('in f16, with one loss scale: what overflows on one rank keeps the step from all', async () => {
    const spoil = ({ images, number }: Batch): void => {
      // Finite, and beyond f16 in the first product of the second rank.
      if (number === 5) images[0] = 1e30;
    };
    const training: Training = { slices: 2, steps: 6, precision: 'f16', scale: 2 ** 30, nonFinite: 'skip', spoil };
    const [one] = await trainRanks(1, training);
    const two = await trainRanks(2, training);
    // f16 gradients of 2^30 times the loss overflow until the scale has been halved often enough.
    expect(one.metrics[0].lossScale).toEqual({ next: 2 ** 29, overflowed: true });
    expect(one.metrics[2].nonFinite).toBeGreaterThan(0);
    expectSameRun(two, one, 1e-6, 0);
    for (const { metrics } of two) {
      expect(metrics.map(({ lossScale }) => lossScale)).toEqual(one.metrics.map(({ lossScale }) => lossScale));
    }
  });
});

describe('what one rank meets, all do', () => {
  it('NaN on one rank: no weight moves on any', async () => {
    const spoil = ({ images, number }: Batch): void => {
      if (number >= 3) images[7] = NaN;
    };
    const ranks = await trainRanks(2, { slices: 2, steps: 3, spoil });
    const [before] = await trainRanks(2, { slices: 2, steps: 1 });
    for (const rank of ranks) {
      expect(rank.metrics.map(({ nonFinite }) => nonFinite > 0)).toEqual([false, true, true]);
      expect(largestDifference(rank.state, before.state)).toBe(0);
    }
  });

  it('a wish of one rank is heard by all', async () => {
    const wishes = (rank: number, step: number): Wishes => ({
      stop: rank === 1 && step === 2,
      fit: rank === 0 && step === 1,
      tell: rank === 2 && step === 2,
    });
    const ranks = await trainRanks(3, { slices: 3, steps: 3, wishes });
    for (const { agreed } of ranks) {
      expect(agreed).toEqual([
        { stop: false, fit: false, tell: false },
        { stop: false, fit: true, tell: false },
        { stop: true, fit: false, tell: true },
      ]);
    }
  });
});

describe('what gradients travel as', () => {
  it('f16 changes losses by no more than f16 rounds', async () => {
    const training: Training = { slices: 2, steps: 5, distillation: 'soft' };
    const [one] = await trainRanks(1, training);
    const two = await trainRanks(2, { ...training, wire: 'f16' });
    const differences = two[0].metrics.map(({ loss }, step) => Math.abs(loss - one.metrics[step].loss));
    // The first loss comes before any gradient; gradients of 11 bits move weights by 1e-3 a step, off by up to 2^-11 of that
    // but for those near zero, whose direction Adam makes as large as any.
    expect(differences[0]).toBeLessThanOrEqual(3e-7);
    expect(Math.max(...differences)).toBeLessThan(2e-3);
    expect(Math.max(...differences)).toBeGreaterThan(0);
    expect(largestDifference(two[0].state, two[1].state)).toBe(0);
  });
});

describe('memory', () => {
  it('nothing is allocated after the second step, and the plan is as exact as in one process', async () => {
    const training: Training = { slices: 2, steps: 6 };
    const [rank] = await trainRanks(2, training);
    expect(new Set(rank.memory.slice(2)).size).toBe(1);
    const [one] = await trainRanks(1, training);
    // Each is of two lists; a rank's are a slice with its gradients' leaving and the update, one process's are two slices.
    const overLeast = ({ plan }: Outcome): number => plan.plannedBytes / plan.leastBytes;
    expect(overLeast(rank)).toBeLessThanOrEqual(1.02 * overLeast(one));
  });
});
