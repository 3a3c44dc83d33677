/** What a file of weights says of its model and of the run that made it. */
import { DeitError } from '../../engine/index.ts';
import { evaluationPipeline } from '../data/index.ts';
import type { EvaluationPipeline } from '../data/index.ts';

/** Key of the card in the metadata of a safetensors file. */
const KEY = 'deit-webgpu';

/** Which images a training held out, so that whoever measures the model later measures on the same ones. */
export interface HeldOut {
  /** `drawn` from the training data by seed; `given` by the data itself (a folder or file of its own) or by a list. */
  readonly split: 'drawn' | 'given';
  /** Of a drawn split: part of every class, and the seed. */
  readonly fraction: number;
  readonly seed: number;
  /** Of data divided into folds: their number, and the one that was held out, from 1. */
  readonly folds?: number;
  readonly fold?: number;
  /** Folder that the paths of list files are relative to, an absolute path, if it was named. */
  readonly root?: string;
  /** List file of the held-out images, an absolute path, if there was one. */
  readonly list: string | null;
  /** SHA-256 of the listing of all images, by which the data is known where it has been moved. */
  readonly listing?: string;
}

/** How weights did on the held-out images of their training. */
export interface Measured {
  /** Optimizer steps that they had been trained for. */
  readonly step: number;
  /** Whether they are the moving average. */
  readonly average: boolean;
  /** Share of images that are classified rightly, by the average of the heads, and mean cross-entropy in nats. */
  readonly accuracy: number;
  readonly loss: number;
}

/** What a file of weights says of its model, in the metadata of the safetensors file. */
export interface ModelCard {
  /** Name with options, as `createModel` takes it. */
  readonly model: string;
  /** Class names, in order of the logits; empty where they are not known. */
  readonly classes: readonly string[];
  /** How images are prepared for evaluation. */
  readonly imageSize: number;
  readonly cropPct: number;
  readonly interpolation: 'bicubic' | 'bilinear';
  /** What else differs from DeiT's own evaluation, in models that were not trained here. */
  readonly preparation?: Partial<Pick<EvaluationPipeline, 'resizeMode' | 'cropRounding' | 'normalization'>>;
  /** Data set that it was trained on: an absolute path, or the name of a set that ships. */
  readonly data: string;
  /** Absent in files of versions before this, and of models that were not trained here. */
  readonly heldOut?: HeldOut;
  /** Of the models that a run keeps; absent elsewhere. */
  readonly measured?: Measured;
}

/** How images are prepared for a model of this size: as its card says, or as DeiT does. */
export function evaluationOf(card: ModelCard | null, imageSize: number): EvaluationPipeline {
  if (card === null) return evaluationPipeline({ imageSize });
  const { cropPct, interpolation, preparation } = card;
  return evaluationPipeline({ imageSize, cropPct, interpolation, ...preparation });
}

/** The metadata of a file of weights with this card. */
export const cardMetadata = (card: ModelCard): Map<string, string> => new Map([[KEY, JSON.stringify(card)]]);

/** The card in a file's metadata; null where there is none. Throws `file-corrupt` for one that cannot be read. */
export function readCard(metadata: ReadonlyMap<string, string>, path: string): ModelCard | null {
  const text = metadata.get(KEY);
  if (text === undefined) return null;
  try {
    const card: unknown = JSON.parse(text);
    if (isCard(card)) return card;
  } catch {
    // Reported with the other malformed cards below.
  }
  throw new DeitError('file-corrupt', "The checkpoint's description of its model cannot be read.", {
    where: path,
    fix: `restore the file from a copy; a later version may have written it; without ${JSON.stringify(KEY)} in its metadata the tensors are read for the model that --model names`,
  });
}

function isCard(value: unknown): value is ModelCard {
  const { model, classes, imageSize, heldOut, measured } = (value ?? {}) as Partial<Record<keyof ModelCard, unknown>>;
  const isNamed = Array.isArray(classes) && classes.every((name) => typeof name === 'string');
  return (
    typeof model === 'string' && isNamed && Number.isInteger(imageSize) && isHeldOut(heldOut) && isMeasured(measured)
  );
}

function isMeasured(value: unknown): boolean {
  if (value === undefined) return true;
  const { step, average, accuracy, loss } = (value ?? {}) as Partial<Record<keyof Measured, unknown>>;
  return (
    Number.isInteger(step) && typeof average === 'boolean' && typeof accuracy === 'number' && typeof loss === 'number'
  );
}

function isHeldOut(value: unknown): boolean {
  if (value === undefined) return true;
  const { split, fraction, seed, list } = (value ?? {}) as Partial<Record<keyof HeldOut, unknown>>;
  const isWhere = list === null || typeof list === 'string';
  return (split === 'drawn' || split === 'given') && typeof fraction === 'number' && Number.isInteger(seed) && isWhere;
}
