/** `openModel` for browsers; `deit-webgpu` resolves to train/node/open-model.ts in Node, which reads files. */
import { DeitError, createEngine, parseSafetensors } from '../engine/index.ts';
import type { Engine, EngineOptions } from '../engine/index.ts';
import { stateValues } from '../nn/index.ts';
import { decodePhoto } from './data/photo.ts';
import type { RgbImage } from './data/index.ts';
import { ImageModel } from './image-model.ts';
import { createModel, describeModel } from './models/registry.ts';
import { loadWeights } from './weights/load.ts';
import { evaluationOf, readCard } from './weights/model-card.ts';

export interface OpenModelOptions {
  /** Name with options, for weights that do not say it. */
  readonly model?: string;
  /** Names in the order of the logits, for weights that have none. */
  readonly classes?: readonly string[];
  /** Where to compute; default: an engine of the model's own, closed with it. */
  readonly engine?: Engine;
  /** Of the engine that is opened. */
  readonly adapter?: EngineOptions['adapter'];
}

/**
 * Opens a safetensors file, by its URL or as it is in memory, for use on photos: files of JPEG, PNG, WebP or GIF, or pictures in
 * memory. Throws `file-unreadable`, `file-corrupt` or `state-mismatch`.
 */
export async function openModel(
  weights: string | URL | Uint8Array,
  options: OpenModelOptions = {},
): Promise<ImageModel<File | RgbImage>> {
  const name = weights instanceof Uint8Array ? 'weights in memory' : String(weights);
  const { tensors, metadata } = parseSafetensors(
    weights instanceof Uint8Array ? weights : await download(weights),
    name,
  );
  const card = readCard(metadata, name);
  const spec = options.model ?? card?.model;
  if (spec === undefined) {
    throw new DeitError('bad-config', 'The weights do not say which model they are of.', {
      where: name,
      fix: "name it, for example { model: 'deit_tiny_patch16_224' }",
    });
  }
  const engine = options.engine ?? (await createEngine({ adapter: options.adapter }));
  const ownsEngine = options.engine === undefined;
  try {
    const model = createModel(engine, spec);
    loadWeights(model, stateValues(tensors), { source: name });
    const classes = options.classes ?? card?.classes ?? [];
    const pipeline = evaluationOf(card, describeModel(spec).imageSize);
    return new ImageModel({ engine, model, name: spec, classes, pipeline, decode, nameOf, ownsEngine });
  } catch (error) {
    if (ownsEngine) engine.close();
    throw error;
  }
}

const nameOf = (image: File | RgbImage): string => (image instanceof File ? image.name : 'an image in memory');

const decode = (image: File | RgbImage): Promise<RgbImage> =>
  image instanceof File ? decodePhoto(image) : Promise.resolve(image);

async function download(url: string | URL): Promise<Uint8Array> {
  const response = await fetch(url);
  if (response.ok) return new Uint8Array(await response.arrayBuffer());
  throw new DeitError('file-unreadable', 'The weights cannot be fetched.', {
    where: String(url),
    found: `${response.status} ${response.statusText}`,
  });
}
