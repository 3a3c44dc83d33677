import { DeitError, readSafetensors, writeSafetensors } from '../../../engine/node.ts';
import type { StoredTensor } from '../../../engine/node.ts';
import { saveState } from '../../../nn/index.ts';
import type { Classifier } from '../../models/classifier.ts';
import { toF16 } from '../../weights/to-f16.ts';
import { weightsFile } from './shipped.ts';

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

/** Writes a model under timm's names, with its card. In F16, floats are rounded to nearest; none may be beyond 65,504. */
export async function saveModel(
  path: string,
  model: Classifier,
  card: ModelCard,
  dtype: 'F32' | 'F16' = 'F32',
): Promise<void> {
  const state = await saveState(model);
  if (dtype === 'F16') for (const [name, tensor] of state) state.set(name, toF16(name, tensor));
  await writeSafetensors(path, state, new Map([['deit-webgpu', JSON.stringify(card)]]));
}

/** A checkpoint's tensors, and its card if it has one. `shipped` stands for the model that ships with the package. */
export async function openCheckpoint(
  pathOrName: string,
): Promise<{ tensors: Map<string, StoredTensor>; card: ModelCard | null }> {
  const path = weightsFile(pathOrName);
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
