/** What to say, and do, about a step whose loss or gradient was not finite. Browser-safe. */
import { DeitError } from '../../engine/index.ts';
import { describeOutputs, firstNonFinite } from '../non-finite.ts';
import { gatherTexts, oneProcess } from '../parallel/communicator.ts';
import type { Communicator } from '../parallel/communicator.ts';
import type { TrainStep } from './step.ts';
import type { TrainedStep } from './train-steps.ts';

/**
 * Examines a step again and returns the error that names the first operator, with its module, step and batches, and the
 * rank where there are several: the same error on all of them. `hasCheckpoint` says whether there is a state to go on from.
 */
export async function explainStep(
  trainStep: TrainStep,
  { progress, batches }: Omit<TrainedStep, 'settled'>,
  hasCheckpoint: boolean,
  ranks: Communicator = oneProcess,
): Promise<DeitError> {
  const { step, epoch } = progress;
  const numbers = batches.map(({ number }) => number + 1);
  const images = batches.flatMap(({ images: values, size, number }) => nonFiniteImages(values, size, number));
  const outputs = describeOutputs(await trainStep.examine(batches, step - 1));
  const own = images.length > 0 ? `the data: ${images.slice(0, 8).join(', ')}` : (outputs ?? '');
  const place = ranks.size > 1 && own ? `rank ${ranks.rank}, batch ${numbers.join(', ')}: ` : '';
  const causes = (await gatherTexts(ranks, place + own)).filter((text) => text !== '');
  const cause =
    causes.length > 0
      ? causes.join('; ')
      : `no output of any operator when the step was run again; ${progress.nonFinite} elements in the step itself`;
  const start = hasCheckpoint ? 'the checkpoints are good: go on from them' : 'begin anew';
  return new DeitError('non-finite', 'NaN or infinity turned up in training; the step was not applied.', {
    where: `step ${step}, epoch ${epoch + 1}${ranks.size > 1 ? '' : `, batch ${numbers.join(', ')} of the epoch`}`,
    found: cause,
    fix: `${start} with a lower learning rate or with clipping (optim.lr, optim.clip), or leave such steps out with run.nonFinite=skip`,
  });
}

/** Images of a batch [size, ...] that hold NaN or infinity. */
function nonFiniteImages(values: Float32Array, size: number, batch: number): string[] {
  const length = values.length / size;
  const images = Array.from({ length: size }, (_, i) => i);
  const isBad = (image: number): boolean => firstNonFinite(values.subarray(image * length, (image + 1) * length)) >= 0;
  return images.filter(isBad).map((image) => `image ${image + 1} of batch ${batch + 1}`);
}
