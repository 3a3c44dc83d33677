import type { Batch, BatchSource } from './batches.ts';
import type { StepMetrics, TrainStep } from './step.ts';

/** How long to train. */
export interface Length {
  /** Optimizer steps, if the number is fixed. */
  readonly steps: number;
  /** Seconds after which to be done: fewer steps are made if the machine is too slow for all. */
  readonly seconds: number | null;
}

export interface FitProgress extends StepMetrics {
  /** Steps done, and in all. */
  readonly step: number;
  readonly steps: number;
  readonly epoch: number;
  readonly lr: number;
  readonly imagesPerSecond: number;
  readonly secondsLeft: number;
}

/** A step that was not applied, since its loss or gradient was not finite. `step` counts from 0. */
export interface FaultyStep {
  readonly step: number;
  readonly epoch: number;
  readonly batches: readonly Batch[];
  readonly metrics: StepMetrics;
}

export interface FitOptions {
  readonly trainStep: TrainStep;
  readonly source: BatchSource;
  readonly accumulate: number;
  readonly length: Length;
  /** Steps done by an earlier, interrupted run. */
  readonly firstStep?: number;
  /** Learning rate of step number `step` of `steps`. */
  readonly schedule: (step: number, steps: number) => number;
  /** Called in order, once for each step, some steps late. */
  readonly onStep: (progress: FitProgress) => void;
  /** Called when NaN or infinity turned up in a step: returns what the training is to end with, or null to go on. */
  readonly onNonFinite?: (step: FaultyStep) => Promise<Error | null>;
  /** Whether something is to be done after this many steps, such as a checkpoint; `onPause` is then called. */
  readonly pauseAfter?: (step: number) => boolean;
  /** Called with no step under way. */
  readonly onPause?: (step: number, steps: number) => Promise<void>;
  /** Runs the last step, with no other under way: to time it, for example. */
  readonly aroundLast?: (step: () => Promise<StepMetrics>) => Promise<StepMetrics>;
  /** Ends the training after the step under way. */
  readonly signal?: AbortSignal;
}

/** Steps whose figures may be outstanding: enough to keep the GPU busy, few enough to bound memory. */
const IN_FLIGHT = 2;
/** Steps, and part of the time, after which the number of steps is fitted. The first step compiles and is not counted. */
const CALIBRATION_STEPS = 5;
const CALIBRATION_SHARE = 0.08;

/** Trains for the given length. Returns the number of steps done in all, and how many were planned. */
export async function fit(options: FitOptions): Promise<{ done: number; steps: number }> {
  const { trainStep, source, accumulate, length, schedule, onStep, signal, firstStep = 0 } = options;
  const stepsPerEpoch = Math.max(1, Math.floor(source.batchesPerEpoch / accumulate));
  const clock = new StepClock();
  const pending: Promise<void>[] = [];
  let { steps } = length;
  let fitted = length.seconds === null;
  let done = firstStep;
  let reported = firstStep;
  const drain = async (atMost: number): Promise<void> => {
    while (pending.length > atMost) await pending.shift();
  };
  let failure: Promise<Error | null> = Promise.resolve(null);
  const report = async (
    metrics: Promise<StepMetrics>,
    { batches, step, epoch }: Omit<FaultyStep, 'metrics'>,
    lr: number,
  ): Promise<void> => {
    const values = await metrics;
    if (await failure) return;
    if (values.nonFinite > 0 && options.onNonFinite) {
      failure = options.onNonFinite({ step, epoch, batches, metrics: values });
      const error = await failure;
      if (error) throw error;
    }
    reported++;
    clock.tick();
    onStep({
      ...values,
      step: reported,
      steps,
      epoch,
      lr,
      imagesPerSecond: (source.batchSize * accumulate) / clock.secondsPerStep,
      secondsLeft: clock.secondsPerStep * (steps - reported),
    });
  };

  while (done < steps && !signal?.aborted) {
    const epoch = Math.floor(done / stepsPerEpoch);
    const micro: Batch[] = [];
    for await (const batch of source.epoch(epoch, (done % stepsPerEpoch) * accumulate)) {
      micro.push(batch);
      if (micro.length < accumulate) continue;
      const lr = schedule(done, steps);
      const number = done;
      const batches = micro.splice(0);
      const run = (): Promise<StepMetrics> => trainStep.run(batches, number, lr);
      const isLast = done + 1 === steps && options.aroundLast !== undefined;
      if (isLast) await drain(0);
      const reporting = report(isLast ? options.aroundLast(run) : run(), { batches, step: number, epoch }, lr);
      // An error is thrown where the promise is awaited, in order.
      reporting.catch(() => undefined);
      pending.push(reporting);
      done++;
      await drain(IN_FLIGHT);
      const seconds = length.seconds ?? Infinity;
      if (!fitted && done - firstStep >= CALIBRATION_STEPS && clock.seconds >= CALIBRATION_SHARE * seconds) {
        await drain(0);
        const fitting = Math.floor((seconds - clock.seconds) / clock.secondsPerStep);
        steps = Math.max(done, Math.min(length.steps, done + fitting));
        fitted = true;
      }
      if (options.pauseAfter?.(done) && done < steps) {
        await drain(0);
        const paused = performance.now();
        await options.onPause?.(done, steps);
        clock.leaveOut((performance.now() - paused) / 1000);
      }
      if (done >= steps || signal?.aborted || done % stepsPerEpoch === 0) break;
    }
  }
  await drain(0);
  return { done, steps };
}

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
