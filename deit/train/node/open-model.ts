/** From weights on the disk to a model that is ready for use. Node only. */
import { DeitError, createEngine } from '../../../engine/node.ts';
import type { Engine, EngineOptions } from '../../../engine/node.ts';
import { decodeBytes, decodeImage } from '../../data/node/index.ts';
import type { RgbImage } from '../../data/index.ts';
import { ImageModel } from '../../image-model.ts';
import type { Classifier } from '../../models/classifier.ts';
import { createModel, describeModel } from '../../models/registry.ts';
import type { ModelOverrides } from '../../models/registry.ts';
import { evaluationOf } from '../../weights/model-card.ts';
import type { ModelCard } from '../../weights/model-card.ts';
import { loadModel, openCheckpoint } from './checkpoint.ts';
import { classNames } from './class-names.ts';
import { SHIPPED } from './shipped.ts';

export interface BuiltModel {
  readonly model: Classifier;
  /** Name with options. */
  readonly spec: string;
  readonly card: ModelCard | null;
}

export interface ModelChoice {
  /** What `openCheckpoint` takes. */
  readonly weights: string;
  /** Name with options; default: what the weights say. */
  readonly model?: string | undefined;
  /** The moving average of the weights. */
  readonly ema?: boolean | undefined;
}

/** Builds the model that is named, or else the one that the weights are of, and loads the weights into it. */
export async function buildModel(
  engine: Engine,
  { weights, model: spec, ema = false }: ModelChoice,
  say: (line: string) => void,
  overrides: ModelOverrides = {},
): Promise<BuiltModel> {
  const opened = await openCheckpoint(weights, { ema, model: spec });
  const { card } = opened;
  const name = spec ?? card?.model;
  if (name === undefined) {
    throw new DeitError('bad-config', 'The checkpoint does not say which model it is of.', {
      where: weights,
      fix: 'name it, for example --model deit_tiny_patch16_224',
    });
  }
  const model = createModel(engine, name, overrides);
  loadModel(model, opened, {}, say);
  return { model, spec: name, card };
}

/** A file, the bytes of one (JPEG, PNG and all that the `deit` command reads), or a picture in memory. */
export type ImageInput = string | Uint8Array | RgbImage;

export interface OpenModelOptions {
  /** Name with options, for weights that do not say it. */
  readonly model?: string;
  /** The moving average of the weights. */
  readonly ema?: boolean;
  /** Where to compute; default: an engine of the model's own, closed with it. */
  readonly engine?: Engine;
  /** Of the engine that is opened. */
  readonly adapter?: EngineOptions['adapter'];
  /** Hears what is worth knowing of how the weights were read. Default: nobody. */
  readonly say?: (line: string) => void;
}

/**
 * Opens a model for use on photos. `weights` is what `deit predict --weights` takes: a run folder, a checkpoint, a safetensors
 * file, a folder of the Hugging Face hub, or (the default) the DeiT-Ti that ships, trained on ImageNet-1k.
 *
 *     const model = await openModel();
 *     const [answers] = await model.classify(['photo.jpg']); // [{ name, probability, class }, ...]
 *     const [vector] = await model.embed(['photo.jpg']); // Float32Array
 */
export async function openModel(weights = SHIPPED, options: OpenModelOptions = {}): Promise<ImageModel<ImageInput>> {
  const { say = () => undefined, adapter } = options;
  const engine = options.engine ?? (await createEngine({ adapter }));
  const ownsEngine = options.engine === undefined;
  try {
    const { model, spec, card } = await buildModel(engine, { ...options, weights }, say);
    const pipeline = evaluationOf(card, describeModel(spec).imageSize);
    const classes = classNames(card, model.classes, say);
    return new ImageModel({ engine, model, name: spec, classes, pipeline, decode, nameOf, ownsEngine });
  } catch (error) {
    if (ownsEngine) engine.close();
    throw error;
  }
}

const nameOf = (image: ImageInput): string => (typeof image === 'string' ? image : 'an image in memory');

function decode(image: ImageInput): Promise<RgbImage> {
  if (typeof image === 'string') return decodeImage(image);
  return image instanceof Uint8Array ? decodeBytes(image, nameOf(image)) : Promise.resolve(image);
}
