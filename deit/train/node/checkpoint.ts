import { DeitError, readSafetensors, writeSafetensors } from '../../../engine/node.ts';
import type { StoredTensor } from '../../../engine/node.ts';
import { saveState } from '../../../nn/index.ts';
import type { Classifier } from '../../models/classifier.ts';

/** What a checkpoint says of its model, in the metadata of the safetensors file. */
export interface ModelCard {
  /** Name with options, as `createModel` takes it. */
  readonly model: string;
  /** Class names, in order of the logits. */
  readonly classes: readonly string[];
  /** How images are prepared for evaluation. */
  readonly imageSize: number;
  readonly cropPct: number;
  readonly interpolation: 'bicubic' | 'bilinear';
  /** Data set that it was trained on. */
  readonly data: string;
}

/** Writes a model under timm's names, with its card. */
export async function saveModel(path: string, model: Classifier, card: ModelCard): Promise<void> {
  await writeSafetensors(path, await saveState(model), new Map([['deit-webgpu', JSON.stringify(card)]]));
}

/** A checkpoint's tensors, and its card if it has one. */
export async function openCheckpoint(
  path: string,
): Promise<{ tensors: Map<string, StoredTensor>; card: ModelCard | null }> {
  const { tensors, metadata } = await readSafetensors(path);
  const text = metadata.get('deit-webgpu');
  if (text === undefined) return { tensors, card: null };
  try {
    const card = JSON.parse(text) as ModelCard;
    const isCard = typeof card.model === 'string' && Array.isArray(card.classes) && Number.isInteger(card.imageSize);
    if (isCard) return { tensors, card };
  } catch {
    // Reported with the other malformed cards below.
  }
  throw new DeitError('file-corrupt', "The checkpoint's description of its model cannot be read.", {
    where: path,
    fix: 'name the model with --model; the tensors may still be good',
  });
}
