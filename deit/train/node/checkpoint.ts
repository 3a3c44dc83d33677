/** Files of weights: written with a card, opened wherever they are, loaded into models. Node only. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DeitError, readSafetensors, writeSafetensors } from '../../../engine/node.ts';
import type { StoredTensor } from '../../../engine/node.ts';
import { saveState, stateValues } from '../../../nn/index.ts';
import { expectFiniteWeights } from '../../non-finite.ts';
import { shareValue } from '../../parallel/communicator.ts';
import type { Communicator } from '../../parallel/communicator.ts';
import { shareTensors } from '../../parallel/share-tensors.ts';
import type { Classifier } from '../../models/classifier.ts';
import { loadWeights } from '../../weights/index.ts';
import type { PositionRule } from '../../weights/index.ts';
import { isModelFolder, openModelFolder } from '../../weights/node/model-folder.ts';
import { toF16 } from '../../weights/to-f16.ts';
import { headClasses } from './class-names.ts';
import { MODEL_FILES, findWeights } from './find-weights.ts';
import { cardMetadata, readCard } from '../../weights/model-card.ts';
import type { ModelCard } from '../../weights/model-card.ts';
import { isCheckpoint, parseCheckpoint } from './run-state.ts';
import { refuseOversized } from './size-check.ts';

/** Writes a model under timm's names, with its card. All numbers must be finite. In F16, floats are rounded to nearest; none may be beyond 65,504. */
export async function saveModel(
  path: string,
  model: Classifier,
  card: ModelCard,
  dtype: 'F32' | 'F16' = 'F32',
): Promise<void> {
  const state = await saveState(model);
  expectFiniteWeights(stateValues(state), card.model);
  if (dtype === 'F16') for (const [name, tensor] of state) state.set(name, toF16(name, tensor));
  await writeSafetensors(path, state, cardMetadata(card));
}

/** Weights as they lie in a file. */
export interface OpenedWeights {
  /** The file, or the folder of the hub. */
  readonly path: string;
  readonly tensors: Map<string, StoredTensor>;
  readonly card: ModelCard | null;
  /** Which weights were chosen, where there was a choice. */
  readonly note: string | null;
}

export interface OpenOptions {
  readonly ema?: boolean;
  readonly model?: string | null;
}

/**
 * Opens weights by what a user calls them: `shipped`, a file (also a training checkpoint), a run folder, a folder of checkpoints
 * or of the Hugging Face hub. With `ema`, the moving average: that of the checkpoint or the run, or the one beside the file.
 * What holds far more than `model` (name with options; default: what it says itself) is not read. Throws `file-unreadable`,
 * `file-corrupt` or `state-mismatch`.
 */
export async function openCheckpoint(
  pathOrName: string,
  { ema = false, model }: OpenOptions = {},
): Promise<OpenedWeights> {
  const { path, note } = await findWeights(pathOrName, ema);
  if (isModelFolder(path)) {
    if (ema) throw noAverage(path);
    return { path, note, ...(await openModelFolder(path, refuseOversized)) };
  }
  const file = await readSafetensors(path, refuseOversized(path, model));
  if (isCheckpoint(file)) {
    const checkpoint = parseCheckpoint(file, path);
    const tensors = checkpoint.part(ema ? 'ema' : 'model');
    if (tensors.size === 0) throw noAverage(path);
    return { path, tensors, card: checkpoint.card, note };
  }
  const card = readCard(file.metadata, path);
  if (!ema || card?.measured?.average) return { path, tensors: file.tensors, card, note };
  const beside = join(dirname(path), MODEL_FILES.average);
  if (path === beside || !existsSync(beside)) throw noAverage(path);
  return openCheckpoint(beside, { ema, model });
}

/** The same on several ranks: rank 0 opens them, and the others get what is in them. */
export async function openCheckpointOver(
  ranks: Communicator,
  pathOrName: string,
  model: string,
): Promise<OpenedWeights> {
  if (ranks.size === 1) return openCheckpoint(pathOrName, { model });
  const own = ranks.rank === 0 ? await openCheckpoint(pathOrName, { model }) : null;
  const about = await shareValue(ranks, own && { path: own.path, card: own.card, note: own.note });
  const { tensors } = await shareTensors(ranks, own && { tensors: own.tensors, metadata: new Map() });
  return { ...about!, tensors };
}

const noAverage = (where: string): DeitError =>
  new DeitError('file-unreadable', 'There is no moving average of these weights.', {
    where,
    expected: `a run or checkpoint of a training with optim.ema, or ${MODEL_FILES.average} beside the file`,
    fix: 'leave --ema out, or train with --set optim.ema=0.9998',
  });

export interface LoadOptions {
  /** Class names of the data that the model is for: its heads are brought into their order. Default: heads as they lie. */
  readonly classes?: readonly string[];
  /** Heads for other classes begin anew instead of being errors. */
  readonly newHead?: boolean;
  readonly posEmbed?: PositionRule;
}

/**
 * Loads opened weights into a model; every loading of a model from a file comes through here. `say` hears of all that was done
 * to them. Throws `state-mismatch`, `class-mismatch` or `non-finite`.
 */
export function loadModel(
  model: Classifier,
  { path, tensors, card, note }: OpenedWeights,
  { classes, newHead, posEmbed }: LoadOptions,
  say: (line: string) => void,
): void {
  if (note) say(`${path}: ${note}`);
  const { notes } = loadWeights(model, stateValues(tensors), {
    newHead,
    posEmbed,
    source: path,
    model: card?.model,
    classes: classes && { head: headClasses(card), wanted: classes },
  });
  for (const line of notes) say(`${path}: ${line}`);
}
