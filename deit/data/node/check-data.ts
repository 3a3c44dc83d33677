/** Reads every image of a data set and says what is wrong with it. Node only. */
import { createHash } from 'node:crypto';
import { DeitError } from '../../../engine/index.ts';
import { countClasses } from '../dataset.ts';
import { withImage } from './decode.ts';
import { readSource } from './open.ts';
import type { ReadDataOptions } from './open.ts';
import { bytesOf } from './pack.ts';

export interface PartReport {
  /** `all` for data that is not divided. */
  readonly part: string;
  readonly images: number;
  /** Names and reasons. */
  readonly unreadable: readonly { readonly name: string; readonly reason: string }[];
  /** Smallest, middle and largest of the shorter sides, in pixels; null if nothing can be read. */
  readonly shorterSide: readonly [number, number, number] | null;
  /** Smallest and largest class with their numbers of images. */
  readonly smallestClass: readonly [string, number];
  readonly largestClass: readonly [string, number];
}

export interface DataReport {
  readonly name: string;
  readonly classes: number;
  readonly parts: readonly PartReport[];
  /** Images whose files are equal to the byte: a held-out one and the one in training that it repeats. */
  readonly heldOutDuplicates: readonly { readonly heldOut: string; readonly training: string }[];
  /** Number of images that repeat another of the same part. */
  readonly repeated: number;
  readonly leftOut: string;
}

/** Throws as `readSource` does, and for data in memory alone. */
export async function checkData(
  source: string,
  options: ReadDataOptions = {},
  onProgress: (done: number, of: number) => void = () => undefined,
): Promise<DataReport> {
  const { name, classes, parts, leftOut } = await readSource(source, options);
  const total = [...parts.values()].reduce((sum, { dataset }) => sum + dataset.length, 0);
  const inTraining = new Map<string, string>();
  const heldOutDuplicates: { heldOut: string; training: string }[] = [];
  const reports: PartReport[] = [];
  let [repeated, done] = [0, 0];
  for (const [split, { dataset, problem }] of parts) {
    if (problem) throw problem;
    if (!dataset.path) {
      throw new DeitError(
        'bad-data',
        'There is nothing to check: the images are read as a whole when they are opened.',
        {
          where: name,
        },
      );
    }
    const unreadable: { name: string; reason: string }[] = [];
    const sides: number[] = [];
    const own = new Map<string, string>();
    for (let i = 0; i < dataset.length; i++) {
      const path = dataset.path(i);
      try {
        const bytes = bytesOf(dataset, i);
        const sum = createHash('sha256').update(bytes).digest('base64');
        const training = inTraining.get(sum);
        if (training !== undefined) heldOutDuplicates.push({ heldOut: path, training });
        if (own.has(sum)) repeated++;
        else own.set(sum, path);
        // The whole image is decoded, for it may be broken at its end.
        sides.push(await withImage(bytes, path, ({ width, height, data }) => (data.length > 0 ? Math.min(width, height) : 0))); // prettier-ignore
      } catch (error) {
        if (!(error instanceof DeitError)) throw error;
        unreadable.push({ name: path, reason: error.message.split('\n')[0] });
      }
      onProgress(++done, total);
    }
    if (split === 'train') for (const [sum, path] of own) inTraining.set(sum, path);
    sides.sort((a, b) => a - b);
    const counts = [...countClasses(dataset)].map((count, label) => [classes[label], count] as const);
    counts.sort(([, a], [, b]) => a - b);
    const shorterSide =
      sides.length === 0 ? null : ([sides[0], sides[sides.length >> 1], sides[sides.length - 1]] as const);
    reports.push({ part: split, images: dataset.length, unreadable, shorterSide, smallestClass: counts[0], largestClass: counts[counts.length - 1] }); // prettier-ignore
  }
  return { name, classes: classes.length, parts: reports, heldOutDuplicates, repeated, leftOut };
}
