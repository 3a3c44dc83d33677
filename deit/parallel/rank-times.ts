import type { CollectiveTime, Communicator } from './communicator.ts';

/** What it took that a training ran on several ranks. Shares are of the time of its loop, on average over the ranks. */
export interface RankTimes {
  readonly ranks: number;
  /** Waiting for ranks that were not there yet. */
  readonly waiting: number;
  /** Moving and adding up, once all were there; while that overlaps with the backward pass it costs less than its time. */
  readonly moving: number;
  /** Copies between the memory of the GPU's staging and of MPI. */
  readonly copying: number;
  /** The rank that waited least: the others waited for it. Null where none waited a hundredth of the time longer. */
  readonly slowest: number | null;
}

/** Part of the time by which the slowest rank has to differ to be named. */
const NOTABLE = 0.01;

/** Of all ranks, since their clocks stood at `before`; null where there is one. */
export async function measureRanks(
  ranks: Communicator,
  before: CollectiveTime,
  copying: number,
  seconds: number,
): Promise<RankTimes | null> {
  const { rank, size, time } = ranks;
  if (size === 1) return null;
  // One row a rank; the others fill theirs.
  const rows = new Float64Array(3 * size);
  rows.set(
    [time.waiting - before.waiting, time.moving - before.moving, copying].map((s) => s / seconds),
    3 * rank,
  );
  await ranks.sum(rows);
  const of = (column: number): number[] => Array.from({ length: size }, (_, r) => rows[3 * r + column]);
  const mean = (shares: readonly number[]): number => shares.reduce((sum, share) => sum + share, 0) / size;
  const waits = of(0);
  const least = Math.min(...waits);
  const slowest = Math.max(...waits) - least > NOTABLE ? waits.indexOf(least) : null;
  return { ranks: size, waiting: mean(waits), moving: mean(of(1)), copying: mean(of(2)), slowest };
}

/** One line for people. */
export function describeTimes({ ranks, waiting, moving, copying, slowest }: RankTimes): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const others = slowest === null ? '' : `; the others waited for rank ${slowest}`;
  return (
    `${ranks} ranks: ${percent(waiting + moving)} of the time in collectives (${percent(waiting)} waiting for each other, ` +
    `${percent(moving)} summing), ${percent(copying)} in copies for them${others}`
  );
}
