/** Node only. Where a resumed run goes on. */
import { existsSync } from 'node:fs';
import { DeitError } from '../../../engine/index.ts';
import type { RunFolder } from './run-folder.ts';
import { latestCheckpoint } from './run-state.ts';
import type { ReadCheckpoint } from './run-state.ts';

/**
 * The checkpoint that a run goes on from, with the metrics cut to its step; null where there is none yet and the run begins
 * anew. Throws where that would be over something that was saved.
 */
export async function findCheckpoint(folder: RunFolder, say: (line: string) => void): Promise<ReadCheckpoint | null> {
  const checkpoint = await latestCheckpoint(folder.path, (path, error) =>
    say(`${path} cannot be read, trying an earlier one: ${error instanceof Error ? error.message : String(error)}`),
  );
  if (!checkpoint) {
    refuseToOverwrite(folder.file('student.safetensors'));
    say('the run has no checkpoint yet: it begins with its first step');
    folder.cutMetrics(() => false);
    return null;
  }
  const { role, step, steps } = checkpoint.position;
  say(`resuming the ${role} after step ${step} of ${steps}`);
  folder.cutMetrics((line) => (line.role === role ? Number(line.step) <= step : role === 'student'));
  return checkpoint;
}

/** A run without checkpoints begins anew, but not over the weights that it came to. */
function refuseToOverwrite(weights: string): void {
  if (!existsSync(weights)) return;
  throw new DeitError('file-unreadable', 'The run has final weights, but no checkpoint to go on from.', {
    where: weights,
    fix: 'restore its folder of checkpoints from a copy; or begin another run, from these weights with model.weights',
  });
}
