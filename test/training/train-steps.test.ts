import { describe, expect, it } from 'vitest';
import type { Batch, BatchSource } from '../../deit/train/batches.ts';
import type { StepMetrics } from '../../deit/train/step.ts';
import { trainSteps } from '../../deit/train/train-steps.ts';
import type { TrainStepsOptions } from '../../deit/train/train-steps.ts';

/** Batches that carry their place alone: epoch and number. */
const source: BatchSource = {
  batchSize: 4,
  batchesPerEpoch: 7,
  waitSeconds: 0,
  nameOf: String,
  async *epoch(epoch, first = 0) {
    for (let number = first; number < 7; number++) yield await Promise.resolve({ epoch, number } as Batch);
  },
};

const figures = (loss: number): StepMetrics => ({
  ...{ loss, lossLabel: loss, lossDistillation: null, accuracy: 0, accuracyDistillation: null },
  ...{ gradNorm: 1, nonFinite: 0, lossScale: null },
});

/** Runs the steps, and notes what happens in which order: `> 3` when step 3 is submitted, `3` when its figures are seen. */
async function collect(options: Partial<TrainStepsOptions>, onStep?: (step: number) => void) {
  const log: string[] = [];
  const places: (readonly [epoch: number, batch: number])[][] = [];
  const training = trainSteps({
    source,
    accumulate: 1,
    length: { steps: 5, seconds: null },
    schedule: (step) => step / 10,
    run: (batches, step) => {
      log.push(`> ${step + 1}`);
      places.push(batches.map(({ epoch, number }) => [epoch, number] as const));
      return Promise.resolve(figures(step));
    },
    ...options,
  });
  for await (const { progress, settled } of training) {
    const { step, loss, lr } = progress;
    // Every step comes with the figures, and the learning rate, that are its own.
    expect([loss, lr]).toEqual([step - 1, (step - 1) / 10]);
    log.push(`${step}${settled ? ' settled' : ''}`);
    onStep?.(step);
  }
  return { log, places };
}

describe('training steps', () => {
  it('come in order, two of them ahead of the figures, and none is under way after the last', async () => {
    const { log } = await collect({});
    expect(log).toEqual(['> 1', '> 2', '> 3', '1', '> 4', '2', '> 5', '3', '4', '5 settled']);
  });

  it('settle where the weights are wanted', async () => {
    const { log } = await collect({ settleAfter: (step) => step === 3 });
    expect(log).toEqual(['> 1', '> 2', '> 3', '1', '2', '3 settled', '> 4', '> 5', '4', '5 settled']);
  });

  it('take whole groups of micro-batches, and leave what an epoch has over', async () => {
    const { places } = await collect({ accumulate: 3, length: { steps: 3, seconds: null } });
    const of = (epoch: number, first: number) => [0, 1, 2].map((i) => [epoch, first + i]);
    expect(places).toEqual([of(0, 0), of(0, 3), of(1, 0)]);
  });

  it('go on where an earlier run ended', async () => {
    const { log, places } = await collect({ firstStep: 8, length: { steps: 10, seconds: null } });
    expect(log).toEqual(['> 9', '> 10', '9', '10 settled']);
    expect(places).toEqual([[[1, 1]], [[1, 2]]]);
  });

  it('end after the step under way when they are told to stop', async () => {
    const stop = new AbortController();
    const { log } = await collect({ signal: stop.signal }, (step) => {
      if (step === 2) stop.abort();
    });
    expect(log.at(-1)).toBe('4 settled');
  });

  it('fit their number into the time there is', async () => {
    const seconds = 0.5;
    let last = 0;
    let planned = 0;
    const run = async (_: unknown, step: number): Promise<StepMetrics> => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return figures(step);
    };
    const options = { source, accumulate: 1, length: { steps: 10_000, seconds }, schedule: () => 0, run };
    for await (const { progress } of trainSteps(options)) ({ step: last, steps: planned } = progress);
    expect(last).toBe(planned);
    expect(last).toBeGreaterThanOrEqual(5);
    expect(last).toBeLessThan(200);
  });

  it('wait for the steps under way when the loop is left', async () => {
    let finished = 0;
    const run = async (_: unknown, step: number): Promise<StepMetrics> => {
      await new Promise((resolve) => setTimeout(resolve, step === 0 ? 0 : 30));
      finished++;
      return figures(step);
    };
    const length = { steps: 5, seconds: null };
    for await (const { progress } of trainSteps({ source, accumulate: 1, length, schedule: () => 0, run })) {
      expect(progress.step).toBe(1);
      break;
    }
    expect(finished).toBe(3);
  });

  it('throw the error of the step that failed', async () => {
    const run = (_: unknown, step: number): Promise<StepMetrics> =>
      step === 1 ? Promise.reject(new Error('step 2 failed')) : Promise.resolve(figures(step));
    const seen: number[] = [];
    const training = trainSteps({ source, accumulate: 1, length: { steps: 5, seconds: null }, schedule: () => 0, run });
    const loop = async (): Promise<void> => {
      for await (const { progress } of training) seen.push(progress.step);
    };
    await expect(loop()).rejects.toThrow('step 2 failed');
    expect(seen).toEqual([1]);
  });
});
