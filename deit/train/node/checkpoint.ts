import { DeitError, readSafetensors, storeFloats, toFloat32, writeSafetensors } from '../../../engine/node.ts';
import type { StoredTensor } from '../../../engine/node.ts';
import { saveState } from '../../../nn/index.ts';
import type { Classifier } from '../../models/classifier.ts';
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
  if (dtype === 'F16') for (const [name, tensor] of state) state.set(name, narrowed(name, tensor));
  await writeSafetensors(path, state, new Map([['deit-webgpu', JSON.stringify(card)]]));
}

/** A tensor of floats as F16; counters stay. */
function narrowed(name: string, tensor: StoredTensor): StoredTensor {
  if (tensor.dtype !== 'F32') return tensor;
  const values = toFloat32(tensor);
  // 65,520 is the first number that rounds to infinity.
  const beyond = values.find((value) => Math.abs(value) >= 65_520);
  if (beyond === undefined) return storeFloats(values, tensor.shape, 'F16');
  throw new DeitError('non-finite', 'A weight is beyond the range of f16.', {
    where: name,
    found: String(beyond),
    fix: 'export in f32',
  });
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
