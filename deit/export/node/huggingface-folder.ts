/** Folders for Hugging Face transformers and transformers.js. Node only. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DeitError, writeFileAtomically, writeSafetensors } from '../../../engine/node.ts';
import { saveState } from '../../../nn/index.ts';
import type { Classifier } from '../../models/classifier.ts';
import { evaluationOf } from '../../weights/model-card.ts';
import type { ModelCard } from '../../weights/model-card.ts';
import { CONFIG, PREPROCESSOR, WEIGHTS } from '../../weights/node/model-folder.ts';
import { toF16 } from '../../weights/to-f16.ts';
import { huggingFaceModel } from '../huggingface.ts';
import { preprocessorConfig } from '../preprocessing.ts';
import { writeOnnxFile } from './onnx-file.ts';

/**
 * Writes config.json, preprocessor_config.json, model.safetensors and, for transformers.js, onnx/model.onnx (in f16:
 * onnx/model_fp16.onnx, the name that it looks for). Returns what to tell of it. Throws `file-unwritable` for a folder that
 * is not empty, `bad-config` for models that transformers does not have.
 */
export async function writeHuggingFaceFolder(
  folder: string,
  model: Classifier,
  card: ModelCard,
  dtype: 'f32' | 'f16',
): Promise<string> {
  const state = await saveState(model);
  if (dtype === 'f16') for (const [name, tensor] of state) state.set(name, toF16(name, tensor));
  const { config, tensors } = huggingFaceModel(model, state);
  makeFolder(folder);
  makeFolder(join(folder, 'onnx'));
  const { classes } = card;
  const labels = {
    id2label: Object.fromEntries(classes.map((name, index) => [index, name])),
    label2id: Object.fromEntries(classes.map((name, index) => [name, index])),
  };
  const dtypeName = dtype === 'f16' ? 'float16' : 'float32';
  const own = { model: card.model, trained_on: card.data };
  // `torch_dtype` is what transformers called it before version 5.
  const described = { ...config, ...labels, dtype: dtypeName, torch_dtype: dtypeName, deit_webgpu: own };
  const onnx = join(folder, 'onnx', dtype === 'f16' ? 'model_fp16.onnx' : 'model.onnx');
  await writeOnnxFile(onnx, model, card, { dtype, heads: 'average' });
  await writeSafetensors(join(folder, WEIGHTS), tensors, new Map([['format', 'pt']]));
  await writeJson(join(folder, PREPROCESSOR), preprocessorConfig(evaluationOf(card, card.imageSize)));
  await writeJson(join(folder, CONFIG), described);
  return `${dtype}, ${(config.architectures as string[])[0]}`;
}

const writeJson = (path: string, content: object): Promise<void> =>
  writeFileAtomically(path, [Buffer.from(`${JSON.stringify(content, null, 2)}\n`)]);

/** A folder that is there and empty. */
function makeFolder(path: string): void {
  if (existsSync(path) && readdirSync(path).length > 0) {
    throw new DeitError('file-unwritable', 'The folder is not empty; nothing in it is overwritten.', {
      where: path,
      fix: 'choose another one with --output, or remove it',
    });
  }
  try {
    mkdirSync(path, { recursive: true });
  } catch (cause) {
    throw new DeitError('file-unwritable', 'The folder cannot be made.', { where: path, found: String(cause), cause });
  }
}
