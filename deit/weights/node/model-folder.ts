/** Folders as the Hugging Face hub keeps models: config.json, model.safetensors, preprocessor_config.json. Node only. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DeitError, readSafetensors } from '../../../engine/node.ts';
import type { HeaderCheck, StoredTensor } from '../../../engine/node.ts';
import { describeModel } from '../../models/registry.ts';
import type { ModelCard } from '../model-card.ts';
import { isObject, modelOfConfig } from '../huggingface-config.ts';
import type { Json } from '../huggingface-config.ts';
import { preparationOfProcessor, preparationOfTimm } from '../huggingface-preprocessing.ts';
import type { Preparation } from '../huggingface-preprocessing.ts';

export const CONFIG = 'config.json';
export const PREPROCESSOR = 'preprocessor_config.json';
export const WEIGHTS = 'model.safetensors';

/** Whether a path is a folder with a model's config.json, of transformers or timm. */
export function isModelFolder(path: string): boolean {
  if (!existsSync(join(path, CONFIG))) return false;
  const config = readJson(join(path, CONFIG));
  return 'model_type' in config || 'architecture' in config || 'architectures' in config;
}

/**
 * The tensors of such a folder, under its library's names, and a card made of its configuration. Throws `file-unreadable`,
 * `file-corrupt`, what `check` throws, or `bad-config` for models and preparations that do not exist here.
 */
export async function openModelFolder(
  path: string,
  check?: (path: string, model: string) => HeaderCheck,
): Promise<{ tensors: Map<string, StoredTensor>; card: ModelCard }> {
  const where = join(path, CONFIG);
  const config = readJson(where);
  const named = modelOfConfig(config, where);
  const { imageSize, cropPct, interpolation, ...preparation } = preparationIn(path, config);
  const model = atSize(named.model, imageSize, path);
  const { deit_webgpu: own } = config;
  const data = isObject(own) && typeof own.trained_on === 'string' ? own.trained_on : 'unknown';
  const weights = join(path, WEIGHTS);
  if (!existsSync(weights)) {
    throw new DeitError('file-unreadable', 'The folder has a config.json, but not the weights.', {
      where: weights,
      fix: 'weights of other formats (pytorch_model.bin) are not read: save them as safetensors with transformers or timm',
    });
  }
  const { tensors } = await readSafetensors(weights, check?.(weights, model));
  return {
    tensors,
    card: { model, classes: named.classes ?? [], imageSize, cropPct, interpolation, preparation, data },
  };
}

/** The model's name for images of the size that they are prepared to, which a RegNetY takes and a DeiT must have. */
function atSize(model: string, imageSize: number, path: string): string {
  const own = describeModel(model);
  if (own.imageSize === imageSize) return own.spec;
  if (model.startsWith('regnety')) return describeModel(model, { imageSize }).spec;
  throw new DeitError('bad-config', 'Images are prepared for another size than the model takes.', {
    where: path,
    expected: `${own.imageSize} pixels, as ${CONFIG} says`,
    found: `${imageSize}`,
  });
}

function preparationIn(path: string, config: Json): Preparation {
  if (typeof config.architecture === 'string') {
    const pretrained = isObject(config.pretrained_cfg) ? config.pretrained_cfg : config;
    return preparationOfTimm(pretrained, join(path, CONFIG));
  }
  const where = join(path, PREPROCESSOR);
  if (existsSync(where)) return preparationOfProcessor(readJson(where), where);
  throw new DeitError('file-unreadable', 'The folder does not say how images are prepared for the model.', {
    where,
    expected: 'the preprocessor_config.json that belongs to the model',
    fix: 'copy it there; AutoImageProcessor.from_pretrained(...).save_pretrained(FOLDER) writes it',
  });
}

function readJson(path: string): Json {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new DeitError('file-corrupt', 'This is not a JSON file that can be read.', {
      where: path,
      found: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
  if (isObject(content)) return content;
  throw new DeitError('file-corrupt', 'This JSON file does not hold an object.', { where: path });
}
