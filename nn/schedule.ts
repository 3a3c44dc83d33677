/**
 * The learning rate of DeiT: linear warmup, then half a cosine (timm's CosineLRScheduler as facebookresearch/deit sets
 * it up). The cosine runs from time 0, under the warmup, so that the base rate itself is never quite reached.
 */
export interface Schedule {
  /** Peak learning rate, after scaling with the batch. */
  readonly base: number;
  readonly epochs: number;
  /** Default 5. */
  readonly warmupEpochs?: number;
  /** Rate at time 0. Default 1e-6. */
  readonly warmupLr?: number;
  /** Rate from the last epoch on. Default 1e-5. */
  readonly minLr?: number;
  /**
   * `epoch`: as the original, constant within an epoch, and epoch e runs at the rate of time e - 1 (its scheduler is
   * stepped after each epoch). `step` (default): the same curve at every step.
   */
  readonly per?: 'epoch' | 'step';
}

/** The curve at `time`, in epochs (whole or not). */
export function warmupCosine(
  time: number,
  { base, epochs, warmupEpochs = 5, warmupLr = 1e-6, minLr = 1e-5 }: Schedule,
): number {
  if (time < warmupEpochs) return warmupLr + (time * (base - warmupLr)) / warmupEpochs;
  if (time >= epochs) return minLr;
  return minLr + 0.5 * (base - minLr) * (1 + Math.cos((Math.PI * time) / epochs));
}

/** The learning rate of optimizer step number `step` of the run, counted from 0. */
export function learningRate(schedule: Schedule, step: number, stepsPerEpoch: number): number {
  if (schedule.per !== 'epoch') return warmupCosine(step / stepsPerEpoch, schedule);
  return warmupCosine(Math.max(Math.floor(step / stepsPerEpoch) - 1, 0), schedule);
}
