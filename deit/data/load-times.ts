/** Where the time of making batches goes. Browser-safe. */

/** Seconds that images took, of all threads together: what happens at the same time counts each for itself. */
export interface LoadTimes {
  /** Files, or their parts, from the disk. */
  readonly read: number;
  /** Of files to pixels, or from the cache. */
  readonly decode: number;
  /** Crops, resizing, flips, policies, the draws of erasing. */
  readonly augment: number;
  /** From threads into batches, by the main thread. */
  readonly copy: number;
}

export const noTimes: LoadTimes = { read: 0, decode: 0, augment: 0, copy: 0 };

export const addTimes = (a: LoadTimes, b: Partial<LoadTimes>): LoadTimes => ({
  read: a.read + (b.read ?? 0),
  decode: a.decode + (b.decode ?? 0),
  augment: a.augment + (b.augment ?? 0),
  copy: a.copy + (b.copy ?? 0),
});

const NAMES: Readonly<Record<keyof LoadTimes, string>> = {
  decode: 'decoding',
  augment: 'cropping and augmentation',
  read: 'reading files',
  copy: 'copies between threads',
};

/** What helps, where a part is the slow one. */
const ADVICE: Readonly<Record<keyof LoadTimes, string>> = {
  decode: 'more threads (data.workers), or a cache of smaller images (data.cache)',
  augment: 'more threads (data.workers), or a cheaper augment.policy',
  read: 'a faster disk, or more threads (data.workers) that wait for this one',
  copy: 'smaller images, or fewer of them at a time',
};

/** The parts from the largest on, with their shares, and what helps against the first; empty where there was nothing to do. */
export function describeLoading(times: LoadTimes): { parts: string; advice: string } | null {
  const names = Object.keys(NAMES) as (keyof LoadTimes)[];
  const all = names.reduce((sum, name) => sum + times[name], 0);
  if (!(all > 0)) return null;
  const sorted = names.filter((name) => times[name] > 0).sort((a, b) => times[b] - times[a]);
  const parts = sorted.map((name) => `${NAMES[name]} ${Math.round((100 * times[name]) / all)} %`).join(', ');
  return { parts, advice: ADVICE[sorted[0]] };
}
