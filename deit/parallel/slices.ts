import { DeitError } from '../../engine/index.ts';
import type { Communicator } from './communicator.ts';

/**
 * A step is made of slices (micro-batches), the same ones whatever the number of ranks: each rank computes as many in a row.
 * Sums over slices, then, are the same sums on one rank as on several.
 */
export interface Share {
  /** Slices of a step, over all ranks. */
  readonly of: number;
  /** The first one of this rank, and how many it computes. */
  readonly first: number;
  readonly count: number;
}

/** Whether a slice or batch of this number, counted from any step's first, is in a share. */
export const isInShare = ({ of, first, count }: Share, number: number): boolean =>
  number % of >= first && number % of < first + count;

/** Every rank takes the next one in turn, whatever their number: the batches of an evaluation. */
export const inTurns = ({ rank, size }: Pick<Communicator, 'rank' | 'size'>): Share => ({
  of: size,
  first: rank,
  count: 1,
});

/** All slices of a step: the share of a run in one process. */
export const allSlices = (slices: number): Share => ({ of: slices, first: 0, count: slices });

/** The slices of this rank. Throws `bad-config` where they cannot be dealt out evenly. */
export function shareOf({ rank, size }: Pick<Communicator, 'rank' | 'size'>, slices: number): Share {
  if (slices % size === 0) return { of: slices, first: (rank * slices) / size, count: slices / size };
  throw new DeitError('bad-config', 'The slices of a step cannot be dealt out evenly to the ranks.', {
    where: 'data.accumulate',
    expected: `a number of ranks that divides ${slices}: ${divisors(slices).join(', ')}`,
    found: `${size} ranks`,
    fix: `start as many ranks as divide ${slices}, or a new run with data.accumulate=${size} or a multiple`,
  });
}

/**
 * Slices of a step where the recipe leaves them open: one a rank. Throws `bad-config` where the images of a step cannot be
 * cut into as many equal slices, which have to be even in size where images are mixed in pairs.
 */
export function slicesFor(size: number, images: number, even: boolean): number {
  const unit = even ? 2 * size : size;
  if (size === 1 || images % unit === 0) return size;
  const below = Math.floor(images / unit) * unit;
  const numbers = divisors(even ? images / 2 : images).filter(Number.isInteger);
  throw new DeitError('bad-config', 'The images of a step cannot be cut into equal slices, one a rank.', {
    where: `data.batchSize ${images}${even ? ', mixed in pairs' : ''}`,
    expected: `a number of ranks from ${numbers.join(', ')}`,
    found: `${size} ranks`,
    fix: `start one of these numbers of ranks, or choose data.batchSize=${[below, below + unit].filter((n) => n > 0).join(' or ')}`,
  });
}

export const divisors = (n: number): number[] =>
  Number.isInteger(n) ? Array.from({ length: n }, (_, i) => i + 1).filter((d) => n % d === 0) : [];
