import { DeitError, readSafetensors, storeFloats, toFloat32, writeSafetensors } from '../../../engine/node.ts';
import type { StoredTensor } from '../../../engine/node.ts';
import { saveState } from '../../../nn/index.ts';
import type { Classifier } from '../../models/classifier.ts';
import { cardMetadata, readCard } from './model-card.ts';
import type { ModelCard } from './model-card.ts';
import { weightsFile } from './shipped.ts';

/** Writes a model under timm's names, with its card. In F16, floats are rounded to nearest; none may be beyond 65,504. */
export async function saveModel(
  path: string,
  model: Classifier,
  card: ModelCard,
  dtype: 'F32' | 'F16' = 'F32',
): Promise<void> {
  const state = await saveState(model);
  if (dtype === 'F16') for (const [name, tensor] of state) state.set(name, narrowed(name, tensor));
  await writeSafetensors(path, state, cardMetadata(card));
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
  return { tensors, card: readCard(metadata, path) };
}
