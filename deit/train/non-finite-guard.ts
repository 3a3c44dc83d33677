/** What to say, and do, about a step whose loss or gradient was not finite. Browser-safe. */
import { DeitError, describeNonFinite } from '../../engine/index.ts';
import type { FaultyStep } from './fit.ts';
import type { TrainStep } from './step.ts';

/** Examines a step again and returns the error that names the first operator, with its module, step and batches. */
export async function explainNonFinite(trainStep: TrainStep, faulty: FaultyStep): Promise<DeitError> {
  const { step, epoch, batches, metrics } = faulty;
  const numbers = batches.map(({ number }) => number + 1);
  const images = batches.flatMap(({ images: values, size, number }) => nonFiniteImages(values, size, number));
  const found = await trainStep.examine(batches, step);
  const cause =
    images.length > 0
      ? `the data: ${images.slice(0, 8).join(', ')}`
      : found.length > 0
        ? `first in ${describeNonFinite(found[0])}; in ${found.length} outputs in all`
        : `no output of any operator when the step was run again; ${metrics.nonFinite} elements in the step itself`;
  return new DeitError('non-finite', 'NaN or infinity turned up in training; the step was not applied.', {
    where: `step ${step + 1}, epoch ${epoch + 1}, batch ${numbers.join(', ')} of the epoch`,
    found: cause,
    fix: 'the checkpoints are good: go on from them with a lower learning rate or with clipping (optim.lr, optim.clip), or leave such steps out with run.nonFinite=skip',
  });
}

/** Images of a batch [size, ...] that hold NaN or infinity. */
function nonFiniteImages(values: Float32Array, size: number, batch: number): string[] {
  const length = values.length / size;
  const images = Array.from({ length: size }, (_, i) => i);
  const isBad = (image: number): boolean =>
    values.subarray(image * length, (image + 1) * length).some((value) => !Number.isFinite(value));
  return images.filter(isBad).map((image) => `image ${image + 1} of batch ${batch + 1}`);
}
