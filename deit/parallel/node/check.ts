/** Node only. What `deit doctor` finds out of MPI. */
import { DeitError } from '../../../engine/index.ts';
import type { Communicator } from '../communicator.ts';
import { findLauncher } from './launch.ts';
import { findMpi } from './ranks.ts';

/** Bytes of the sum that is timed: the gradients of DeiT-Ti. */
const BYTES = 24e6;
const ROUNDS = 5;

export interface MpiCheck {
  readonly library: string | null;
  readonly abi: string | null;
  readonly launcher: string | null;
  /** What is missing, and how to get it. */
  readonly problem: string | null;
}

/** The library and the launcher that a training would use here; nothing is initialized. */
export async function checkMpi(): Promise<MpiCheck> {
  const problems: string[] = [];
  const missing = (error: unknown): null => {
    if (!(error instanceof DeitError)) throw error;
    problems.push(`${error.message.split('\n')[0]} ${error.details.fix ?? ''}`.trim());
    return null;
  };
  const library = await findMpi().catch(missing);
  let launcher: string | null = null;
  try {
    launcher = findLauncher(2).program;
  } catch (error) {
    missing(error);
  }
  return {
    library: library && `${library.version} (${library.path})`,
    abi: library?.abi.name ?? null,
    launcher,
    problem: problems.length > 0 ? problems.join('; ') : null,
  };
}

/** Seconds that all ranks take to sum 24 MB, the best of a few; throws `rank-failed` where the sum is wrong. */
export async function timeSum(ranks: Communicator): Promise<{ bytes: number; seconds: number }> {
  let seconds = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const values = new Float32Array(BYTES / 4).fill(ranks.rank + 1);
    await ranks.barrier();
    const start = performance.now();
    await ranks.sum(values);
    seconds = Math.min(seconds, (performance.now() - start) / 1000);
    const expected = (ranks.size * (ranks.size + 1)) / 2;
    if (values.every((value) => value === expected)) continue;
    throw new DeitError('rank-failed', 'The ranks have added up wrongly.', {
      where: `rank ${ranks.rank}`,
      expected: String(expected),
      found: String(values.find((value) => value !== expected)),
    });
  }
  return { bytes: BYTES, seconds };
}
