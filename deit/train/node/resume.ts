/** Node only. Where a resumed run goes on, and that it does so over what it was trained on. */
import { existsSync } from 'node:fs';
import { DeitError, readSafetensors } from '../../../engine/node.ts';
import { shareValue } from '../../parallel/communicator.ts';
import type { Communicator } from '../../parallel/communicator.ts';
import { shareTensors } from '../../parallel/share-tensors.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { openCheckpoint } from './checkpoint.ts';
import { DataListing } from './data-listing.ts';
import { MODEL_FILES } from './find-weights.ts';
import { identifyWeights } from './identify-weights.ts';
import type { RunInputs, WeightsIdentity } from './inputs.ts';
import type { RunFolder } from './run-folder.ts';
import { latestCheckpoint, parseCheckpoint } from './run-state.ts';
import type { ReadCheckpoint } from './run-state.ts';
import type { Sources } from './sources.ts';

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
    return null;
  }
  const { role, step, steps } = checkpoint.position;
  say(`resuming the ${role} after step ${step} of ${steps}`);
  return checkpoint;
}

/** The same on several ranks: rank 0 finds it, and the others get its content. */
export async function findCheckpointOver(
  ranks: Communicator,
  folder: RunFolder,
  say: (line: string) => void,
): Promise<ReadCheckpoint | null> {
  const found = ranks.rank === 0 ? await findCheckpoint(folder, say) : null;
  const path = await shareValue(ranks, found?.path ?? null);
  if (ranks.size === 1 || path === null) return found;
  const shared = await shareTensors(ranks, ranks.rank === 0 ? await readSafetensors(path) : null);
  return found ?? parseCheckpoint(shared, path);
}

/** Drops the metrics of steps that a run makes again which goes on from `checkpoint`. */
export function cutMetrics(folder: RunFolder, checkpoint: ReadCheckpoint | null): void {
  if (!checkpoint) return folder.cutMetrics(() => false);
  const { role, step } = checkpoint.position;
  folder.cutMetrics((line) => (line.role === role ? Number(line.step) <= step : role === 'student'));
}

/** A run without checkpoints begins anew, but not over the weights that it came to. */
function refuseToOverwrite(weights: string): void {
  if (!existsSync(weights)) return;
  throw new DeitError('file-unreadable', 'The run has final weights, but no checkpoint to go on from.', {
    where: weights,
    fix: 'restore its folder of checkpoints from a copy; or begin another run, from these weights with model.weights',
  });
}

/** Data or weights that are elsewhere than they were when the run was begun. */
export interface Moved {
  /** Thrown where it cannot be known whether they are the same. */
  readonly refusal: DeitError;
  /** Writes down where they are now. */
  readonly accept: () => Promise<void>;
}

export interface ResumeOptions {
  readonly recipe: Recipe;
  readonly folder: RunFolder;
  readonly checkpoint: ReadCheckpoint | null;
  /** Goes on though something has changed. */
  readonly allowChanged: boolean;
  readonly moved: Moved | undefined;
}

/**
 * What the run is trained on, with its listing written into the run folder. Throws `bad-data` where that is not what the
 * checkpoint was trained on, and says what has changed, unless this is allowed; then it is told.
 */
export async function settleInputs(
  { recipe, folder, checkpoint, allowChanged, moved }: ResumeOptions,
  sources: Sources,
  say: (line: string) => void,
): Promise<RunInputs> {
  const listing = await DataListing.of(sources);
  const before = checkpoint?.inputs ?? null;
  const now: RunInputs = {
    data: listing.sha256,
    start: await startWeights(recipe, checkpoint, say),
    teacher: await teacherWeights(recipe, folder, checkpoint),
  };
  if (moved && !before && !allowChanged) throw moved.refusal;
  if (before) {
    const changes = [
      ...(await listing.changesSince(before.data, folder.path)),
      ...weightsChanges('start weights', before.start, now.start),
      ...weightsChanges('teacher', before.teacher, now.teacher),
    ];
    if (changes.length > 0 && !allowChanged) throw changed(checkpoint!.path, changes);
    for (const change of changes) say(`changed since the checkpoint, and gone on over as allowed: ${change}`);
  } else if (checkpoint) {
    say('the checkpoint is of an earlier version and does not say what its data was: going on without a comparison');
  }
  await listing.keep(folder.path);
  await moved?.accept();
  return now;
}

/** A student that goes on has its weights from its checkpoint: those that it started from may be gone. */
async function startWeights(
  recipe: Recipe,
  checkpoint: ReadCheckpoint | null,
  say: (line: string) => void,
): Promise<WeightsIdentity | null> {
  const weights = recipe['model.weights'];
  if (!weights) return null;
  const before = checkpoint?.position.role === 'student' ? checkpoint.inputs?.start : null;
  if (!before || existsSync(before.path)) return identifyWeights(weights, recipe['model.name']);
  say(`${before.path}, from which the student started, is not there any more; its checkpoint has all it needs`);
  return before;
}

async function teacherWeights(
  recipe: Recipe,
  folder: RunFolder,
  checkpoint: ReadCheckpoint | null,
): Promise<WeightsIdentity | null> {
  if (recipe['distillation.type'] === 'none') return null;
  if (recipe['teacher.weights']) return identifyWeights(recipe['teacher.weights'], recipe['teacher.model']);
  return checkpoint?.position.role === 'student' ? ownTeacher(folder) : null;
}

/** The teacher that the run has trained. Throws where it cannot be read, for its student goes on under no other. */
async function ownTeacher(folder: RunFolder): Promise<WeightsIdentity> {
  const path = folder.file(MODEL_FILES.teacher);
  try {
    await openCheckpoint(path);
    return await identifyWeights(path);
  } catch (error) {
    if (!(error instanceof DeitError)) throw error;
    throw new DeitError(error.code, "The run's teacher cannot be read, and its student can go on under no other.", {
      where: path,
      found: error.message,
      fix: 'restore the file from a copy; or begin another run, in another folder',
      cause: error,
    });
  }
}

function weightsChanges(what: string, before: WeightsIdentity | null, now: WeightsIdentity | null): string[] {
  if (before?.sha256 === now?.sha256) return [];
  const told = (one: WeightsIdentity | null): string =>
    one ? `${one.path} with ${one.bytes} bytes and SHA-256 ${one.sha256.slice(0, 12)}...` : 'none';
  return [`${what}: ${told(before)} before, ${told(now)} now`];
}

const changed = (where: string, changes: readonly string[]): DeitError =>
  new DeitError('bad-data', 'What the run is trained on has changed since its checkpoint.', {
    where,
    found: changes.join('\n    '),
    fix: 'put back what was there; or go on over what there is now with --allow-changed-data; or begin another run',
  });
