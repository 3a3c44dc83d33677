/** The processes of a training, from their start to their end: they begin together and end together. */
import { availableParallelism, cpus, hostname } from 'node:os';
import { DeitError } from '../../engine/index.ts';
import type { Communicator } from '../parallel/communicator.ts';
import { detectLaunch } from '../parallel/node/launcher.ts';
import { runOnProcesses } from '../parallel/node/launch.ts';
import { openRanks } from '../parallel/node/ranks.ts';
import { describeError } from './errors.ts';
import { parseNumber } from './session.ts';

/** More processes than any machine has GPUs for. */
export const MOST_PROCESSES = 256;

/**
 * Runs `work` on every rank of this launch, or, where `processes` is given, launches that many. An error that all ranks meet is
 * told once; one of a single rank ends all, with its message.
 */
export async function onRanks(
  processes: string | undefined,
  work: (ranks: Communicator) => Promise<void>,
): Promise<void> {
  const count = processes === undefined ? null : parseNumber(processes, '--processes', { least: 1, most: MOST_PROCESSES, whole: true }); // prettier-ignore
  const launch = detectLaunch();
  if (count !== null && count > 1 && !launch) {
    process.exitCode = await runOnProcesses(count, withoutProcesses(process.argv.slice(2)));
    return;
  }
  const ranks = await openRanks();
  if (ranks.size === 1) return work(ranks);
  try {
    if (count !== null && count !== ranks.size) throw otherNumber(count, ranks.size);
    await work(ranks);
    await ranks.close();
  } catch (error) {
    await endTogether(ranks, error);
  }
}

/** Says so where the launcher has bound each process to one of many cores, as mpirun of Open MPI does. */
export function bindingAdvice({ size }: Communicator): string | null {
  if (size === 1 || availableParallelism() > 1 || cpus().length === 1) return null;
  return 'each process is bound to one core: start them with mpirun --bind-to none, or --map-by slot:PE=CORES for a share each';
}

async function endTogether(ranks: Communicator, error: unknown): Promise<void> {
  const tell = (prefix: string): void => void process.stderr.write(`${prefix}${describeError(error)}\n`);
  if (ranks.rank === 0) tell('');
  const isCommon = await ranks.allFailed();
  if (ranks.rank > 0 && !isCommon) tell(`rank ${ranks.rank} (${hostname()}): `);
  if (!isCommon) ranks.abort(1);
  await ranks.close();
  process.exitCode = 1;
}

const withoutProcesses = (args: readonly string[]): string[] =>
  args.filter((arg, i) => arg !== '--processes' && args[i - 1] !== '--processes' && !arg.startsWith('--processes='));

const otherNumber = (asked: number, size: number): DeitError =>
  new DeitError('bad-config', 'The launcher has started another number of processes than --processes asks for.', {
    expected: String(asked),
    found: String(size),
    fix: 'leave --processes out under a launcher',
  });
