/** From what a user names as weights to the file that holds them. Node only. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import { hubModel, isHubName } from '../../weights/node/hub.ts';
import { isModelFolder } from '../../weights/node/model-folder.ts';
import { checkpointsIn, listCheckpoints } from './run-state.ts';
import type { ListedCheckpoint } from './run-state.ts';
import { SHIPPED, shippedWeights } from './shipped.ts';

/** Files of a run's folder that hold a whole model, by what they are. */
export const MODEL_FILES = {
  /** The student after the last step. */
  last: 'student.safetensors',
  /** The best of all that were measured on held-out images along the way. */
  best: 'student-best.safetensors',
  /** The moving average after the last step. */
  average: 'student-ema.safetensors',
  teacher: 'teacher.safetensors',
} as const;

const NOTES = {
  last: 'the last model of this run',
  best: 'the best model of this run',
  average: 'the moving average of this run',
} as const;

export interface FoundWeights {
  /** A safetensors file, or a folder or index as `readSafetensors` takes them. */
  readonly path: string;
  /** What was chosen, where there was a choice. */
  readonly note: string | null;
}

/**
 * Weights are `shipped`, a file, the folder of a run (its best model, else its last, else its newest checkpoint; with `ema` its
 * moving average), a folder of checkpoints (the newest), a folder of the Hugging Face hub, or a model there (`hf:OWNER/NAME`).
 * Throws `file-unreadable` where there are none.
 */
export async function findWeights(pathOrName: string, ema: boolean): Promise<FoundWeights> {
  if (pathOrName === SHIPPED) return { path: shippedWeights(), note: null };
  if (isHubName(pathOrName)) return hubModel(pathOrName);
  if (!existsSync(pathOrName)) throw notFound(pathOrName, 'nothing of this name');
  if (!statSync(pathOrName).isDirectory() || isModelFolder(pathOrName)) return { path: pathOrName, note: null };
  const own = await checkpointsIn(pathOrName);
  if (own.length > 0) return newest(own, pathOrName);
  const kinds = ema ? (['average'] as const) : (['best', 'last'] as const);
  const kind = kinds.find((one) => existsSync(join(pathOrName, MODEL_FILES[one])));
  if (kind) return { path: join(pathOrName, MODEL_FILES[kind]), note: NOTES[kind] };
  const checkpoints = await listCheckpoints(pathOrName);
  if (checkpoints.length > 0) return newest(checkpoints, pathOrName);
  const isHub = ['model.safetensors', 'model.safetensors.index.json'].some((name) =>
    existsSync(join(pathOrName, name)),
  );
  if (isHub) return { path: pathOrName, note: null };
  throw notFound(pathOrName, 'a folder with neither a model nor checkpoints in it');
}

/** The student's newest checkpoint, given the furthest first. */
function newest([{ path, role }]: readonly ListedCheckpoint[], named: string): FoundWeights {
  if (role === 'student') return { path, note: 'the newest checkpoint of this run' };
  throw notFound(named, `a run that has not come to its student yet; its teacher so far is ${path}`);
}

const notFound = (where: string, found: string): DeitError =>
  new DeitError('file-unreadable', 'There are no weights here.', {
    where,
    expected:
      'a safetensors file, a run folder, a folder of checkpoints, a folder with model.safetensors, or hf:OWNER/NAME',
    found,
  });
