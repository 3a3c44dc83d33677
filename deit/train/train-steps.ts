import type { Batch, BatchSource } from './batches.ts';
import { DeitError } from '../../engine/index.ts';
import { anyRank, oneProcess, shareValue } from '../parallel/communicator.ts';
import type { Communicator } from '../parallel/communicator.ts';
import { shareOf } from '../parallel/slices.ts';
import type { StepMetrics, StepUnderWay, Wishes } from './step.ts';

/** How long to train. */
export interface Length {
  /** Optimizer steps, if the number is fixed. */
  readonly steps: number;
  /** Seconds after which to be done: fewer steps are made if the machine is too slow for all. */
  readonly seconds: number | null;
}

export interface StepProgress extends StepMetrics {
  /** Steps done, and in all. */
  readonly step: number;
  readonly steps: number;
  readonly epoch: number;
  readonly lr: number;
  readonly imagesPerSecond: number;
  readonly secondsLeft: number;
}

/** One optimizer step that the GPU has finished. */
export interface TrainedStep {
  readonly progress: StepProgress;
  /** What it was trained on, to examine it again. */
  readonly batches: readonly Batch[];
  /** No other step is under way, and none begins before the next one is asked for: the weights are those after this step. */
  readonly settled: boolean;
}

export interface TrainStepsOptions {
  /** Gives this rank's micro-batches alone. */
  readonly source: BatchSource;
  /** Micro-batches in one optimizer step, over all ranks. */
  readonly accumulate: number;
  /** Default: one process. */
  readonly ranks?: Communicator;
  readonly length: Length;
  /** Steps done by an earlier, interrupted run. */
  readonly firstStep?: number;
  /** Learning rate of step number `step` (from 0) of `steps`. */
  readonly schedule: (step: number, steps: number) => number;
  /**
   * Submits step number `step` (from 0). The figures arrive when the GPU is done with it. Where there are several ranks they
   * agree in it on what `wishes` says on each.
   */
  readonly run: (
    batches: readonly Batch[],
    step: number,
    lr: number,
    steps: number,
    wishes: () => Wishes,
  ) => Promise<StepMetrics> | StepUnderWay;
  /** What ranks tell each other along the way: where one has news, `share` is called on all after the same step. */
  readonly news?: { readonly hasNews: () => boolean; readonly share: () => Promise<void> };
  /** Whether nothing may be under way after this many steps, since the weights are wanted then. After the last nothing is. */
  readonly settleAfter?: (step: number, steps: number) => boolean;
  /** Ends the training after the step under way, on all ranks if on one. */
  readonly signal?: AbortSignal;
}

/** A step whose figures are outstanding. */
interface PendingStep {
  readonly metrics: Promise<StepMetrics>;
  readonly batches: readonly Batch[];
  /** Its number, from 1. */
  readonly step: number;
  readonly epoch: number;
  readonly lr: number;
}

/** Steps whose figures may be outstanding: enough to keep the GPU busy, few enough to bound memory. */
const IN_FLIGHT = 2;
/** Steps, and part of the time, after which the number of steps is fitted. The first step compiles and is not counted. */
const CALIBRATION_STEPS = 5;
const CALIBRATION_SHARE = 0.08;

/**
 * Trains for the given length and yields every step, in order, once its figures are known; later steps are then already
 * under way, unless it is `settled`. Ends early when the signal says so: the last step that was yielded is the last one done.
 */
export async function* trainSteps(options: TrainStepsOptions): AsyncGenerator<TrainedStep, void, undefined> {
  const {
    source,
    accumulate,
    length,
    schedule,
    run,
    news,
    settleAfter,
    signal,
    firstStep = 0,
    ranks = oneProcess,
  } = options;
  const share = shareOf(ranks, accumulate);
  if (source.batchesPerEpoch < accumulate) throw tooFewBatches(source, accumulate);
  const stepsPerEpoch = Math.floor(source.batchesPerEpoch / accumulate);
  const clock = new StepClock();
  const pending: PendingStep[] = [];
  let { steps } = length;
  let isFitted = length.seconds === null;
  let isStopped = await anyRank(ranks, signal?.aborted ?? false);
  let done = firstStep;
  const seconds = length.seconds ?? Infinity;
  const wishes = (): Wishes => ({
    stop: signal?.aborted ?? false,
    fit: !isFitted && done - firstStep >= CALIBRATION_STEPS && clock.seconds >= CALIBRATION_SHARE * seconds,
    tell: ranks.size > 1 && (news?.hasNews() ?? false),
  });

  /** Yields the oldest steps under way until only `atMost` are left. */
  async function* finish(atMost: number): AsyncGenerator<TrainedStep, void, undefined> {
    while (pending.length > atMost) {
      const { metrics, batches, ...oldest } = pending.shift()!;
      const figures = await metrics;
      clock.tick();
      const { secondsPerStep } = clock;
      const progress = {
        ...figures,
        ...oldest,
        steps,
        imagesPerSecond: (source.batchSize * accumulate) / secondsPerStep,
        secondsLeft: secondsPerStep * (steps - oldest.step),
      };
      const settled = pending.length === 0 && atMost === 0;
      const yielded = performance.now();
      yield { progress, batches, settled };
      for (const batch of batches) batch.release?.();
      if (settled) clock.leaveOut((performance.now() - yielded) / 1000);
    }
  }

  try {
    while (done < steps && !isStopped) {
      const epoch = Math.floor(done / stepsPerEpoch);
      const micro: Batch[] = [];
      for await (const batch of source.epoch(epoch, (done % stepsPerEpoch) * accumulate)) {
        micro.push(batch);
        if (micro.length < share.count) continue;
        const batches = micro.splice(0);
        const lr = schedule(done, steps);
        const begun = run(batches, done, lr, steps, wishes);
        const metrics = 'metrics' in begun ? begun.metrics : begun;
        // An error is thrown where the promise is awaited, in order.
        metrics.catch(() => undefined);
        done++;
        pending.push({ metrics, batches, step: done, epoch, lr });
        yield* finish(IN_FLIGHT);
        const { stop, fit, tell } = 'metrics' in begun ? await begun.agreed() : wishes();
        if (tell) await news?.share();
        if (fit) {
          yield* finish(0);
          const fitting = Math.floor((seconds - clock.seconds) / clock.secondsPerStep);
          steps = await shareValue(ranks, Math.max(done, Math.min(length.steps, done + fitting)));
          isFitted = true;
        } else if (settleAfter?.(done, steps)) yield* finish(0);
        isStopped = stop || (ranks.size === 1 && (signal?.aborted ?? false));
        if (done >= steps || isStopped || done % stepsPerEpoch === 0) break;
      }
    }
    yield* finish(0);
  } finally {
    // Whoever left the loop may free what the steps under way work on.
    await Promise.allSettled(pending.map(({ metrics }) => metrics));
  }
}

const tooFewBatches = ({ batchSize, batchesPerEpoch }: BatchSource, accumulate: number): DeitError =>
  new DeitError('bad-config', 'The data set is smaller than the images of one step.', {
    expected: `at least ${accumulate * batchSize} images an epoch`,
    found: `${batchesPerEpoch} batches of ${batchSize}`,
    fix: 'choose a smaller batch size (data.batchSize)',
  });

/** Times steps, leaving out the first, which compiles, and what is done between steps. */
class StepClock {
  private readonly start = performance.now();
  private first = 0;
  private ticks = 0;
  private leftOut = 0;

  get seconds(): number {
    return (performance.now() - this.start) / 1000;
  }

  tick(): void {
    if (this.ticks++ === 0) this.first = this.seconds;
  }

  leaveOut(seconds: number): void {
    this.leftOut += seconds;
  }

  get secondsPerStep(): number {
    return this.ticks > 1 ? (this.seconds - this.first - this.leftOut) / (this.ticks - 1) : this.seconds;
  }
}
