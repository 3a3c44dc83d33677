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

export interface FitOptions {
  readonly trainStep: TrainStep;
  readonly source: BatchSource;
  readonly accumulate: number;
  readonly length: Length;
  /** Learning rate of step number `step` of `steps`. */
  readonly schedule: (step: number, steps: number) => number;
  /** Called in order, once for each step, some steps late. */
  readonly onStep: (progress: FitProgress) => void;
  /** Called between epochs, after all steps of the epoch. */
  readonly onEpoch?: (epoch: number, step: number, steps: number) => Promise<void>;
}

/** Steps whose figures may be outstanding: enough to keep the GPU busy, few enough to bound memory. */
const IN_FLIGHT = 2;
/** Steps after which the number of steps is fitted to the time. The first compiles and is not counted. */
const CALIBRATION = 5;

/** Trains for the given length. Returns the number of steps made. */
export async function fit(options: FitOptions): Promise<number> {
  const { trainStep, source, accumulate, length, schedule, onStep, onEpoch } = options;
  const start = performance.now();
  const seconds = (): number => (performance.now() - start) / 1000;
  const pending: Promise<void>[] = [];
  let steps = length.steps;
  let done = 0;
  let firstDone = 0;
  let reported = 0;

  const report = async (metrics: Promise<StepMetrics>, epoch: number, lr: number): Promise<void> => {
    const values = await metrics;
    reported++;
    if (reported === 1) firstDone = seconds();
    const perStep = reported > 1 ? (seconds() - firstDone) / (reported - 1) : seconds();
    onStep({
      ...values,
      step: reported,
      steps,
      epoch,
      lr,
      imagesPerSecond: (source.batchSize * accumulate) / perStep,
      secondsLeft: perStep * (steps - reported),
    });
  };

  for (let epoch = 0; done < steps; epoch++) {
    const micro: Batch[] = [];
    for await (const batch of source.epoch(epoch)) {
      micro.push(batch);
      if (micro.length < accumulate) continue;
      const lr = schedule(done, steps);
      const failed = report(trainStep.run(micro.splice(0), done, lr), epoch, lr);
      // An error is thrown where the promise is awaited, in order.
      failed.catch(() => undefined);
      pending.push(failed);
      done++;
      while (pending.length > IN_FLIGHT) await pending.shift();
      if (done === CALIBRATION && length.seconds !== null) {
        await Promise.all(pending.splice(0));
        const perStep = (seconds() - firstDone) / (CALIBRATION - 1);
        steps = Math.max(done, Math.min(length.steps, done + Math.floor((length.seconds - seconds()) / perStep)));
      }
      if (done >= steps) break;
    }
    await Promise.all(pending.splice(0));
    await onEpoch?.(epoch, done, steps);
  }
  return done;
}
