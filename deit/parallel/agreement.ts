import { DeitError } from '../../engine/index.ts';
import { gatherTexts } from './communicator.ts';
import type { Communicator } from './communicator.ts';

/** Differences that are told; the rest is counted. */
const MOST_TOLD = 5;

/**
 * Compares what has to be the same on all ranks, by name, with rank 0's. Throws `rank-mismatch` on every rank alike, with the
 * ranks and the fields in which they differ.
 */
export async function expectAgreement(ranks: Communicator, facts: Readonly<Record<string, string>>): Promise<void> {
  if (ranks.size === 1) return;
  const all = (await gatherTexts(ranks, JSON.stringify(facts))).map((text) => JSON.parse(text) as typeof facts);
  const [first] = all;
  const differences = all.flatMap((own, rank) =>
    [...new Set([...Object.keys(first), ...Object.keys(own)])]
      .filter((name) => own[name] !== first[name])
      .map((name) => `${name}: rank ${rank} has ${own[name] ?? 'none'}, rank 0 has ${first[name] ?? 'none'}`),
  );
  if (differences.length === 0) return;
  const more = differences.length - MOST_TOLD;
  throw new DeitError('rank-mismatch', 'The ranks of this run do not agree on what has to be the same on all.', {
    found: differences.slice(0, MOST_TOLD).join('; ') + (more > 0 ? `; and ${more} more` : ''),
    fix: 'start all ranks with the same version, options and data, on adapters of one kind',
  });
}
