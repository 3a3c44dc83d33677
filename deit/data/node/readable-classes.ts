/** Whether every class of a data set has an image that can be read. Node only. */
import { labelsOf } from '../dataset.ts';
import type { Dataset } from '../dataset.ts';
import { evaluationPipeline } from '../pipeline.ts';
import { byClass } from '../sampler.ts';
import { emptyClass } from './image-problems.ts';
import type { ImageWorkers } from './image-workers.ts';

/** Enough to show that an image can be decoded. */
const PIPELINE = evaluationPipeline({ imageSize: 1 });

/**
 * Throws `bad-data`, naming the class, if no image of a class can be read: to be asked before a training that leaves such
 * images out, for in an epoch or less it may not meet them all. Reads one image of each class where all is well.
 */
export async function expectReadableClasses(dataset: Dataset, workers: ImageWorkers): Promise<void> {
  if (!dataset.path) return; // in memory
  const members = byClass(labelsOf(dataset), dataset.classes.length);
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < members.length) {
      const label = next++;
      await expectReadable(dataset, label, members[label], workers);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, 2 * workers.count) }, work));
}

async function expectReadable(
  dataset: Dataset,
  label: number,
  members: Uint32Array,
  workers: ImageWorkers,
): Promise<void> {
  let reason = '';
  for (const index of members) {
    const samples = [{ index, copy: 0, path: dataset.path!(index), range: dataset.range?.(index) }];
    const job = { seed: 0, epoch: 0, pipeline: PIPELINE, root: dataset.root, cache: undefined, samples };
    const { failures } = await workers.run(job);
    if (failures.length === 0) return;
    reason ||= failures[0].error.message;
  }
  throw emptyClass(dataset, label, reason);
}
