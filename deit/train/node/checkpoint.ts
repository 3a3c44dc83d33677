import { readSafetensors, writeSafetensors } from '../../../engine/node.ts';
import type { StoredTensor } from '../../../engine/node.ts';
import { saveState, stateValues } from '../../../nn/index.ts';
import { expectFiniteWeights } from '../../non-finite.ts';
import type { Classifier } from '../../models/classifier.ts';
import { isModelFolder, openModelFolder } from '../../weights/node/model-folder.ts';
import { toF16 } from '../../weights/to-f16.ts';
import { cardMetadata, readCard } from './model-card.ts';
import type { ModelCard } from './model-card.ts';
import { weightsFile } from './shipped.ts';

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

/** A checkpoint's tensors, and its card if it has one. `shipped` stands for the model that ships with the package. */
export async function openCheckpoint(
  pathOrName: string,
): Promise<{ tensors: Map<string, StoredTensor>; card: ModelCard | null }> {
  const path = weightsFile(pathOrName);
  if (isModelFolder(path)) return openModelFolder(path);
  const { tensors, metadata } = await readSafetensors(path);
  return { tensors, card: readCard(metadata, path) };
}
