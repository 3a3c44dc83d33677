/** Models as a folder of Hugging Face transformers: its config.json and the tensors under its names. Browser-safe. */
import { DeitError } from '../../engine/index.ts';
import type { StoredTensor } from '../../engine/index.ts';
import type { Classifier } from '../models/classifier.ts';
import { VisionTransformer } from '../models/deit.ts';
import { hasDistHead } from '../models/deit-config.ts';
import type { DeitConfig } from '../models/deit-config.ts';
import { RegNetY } from '../models/regnety.ts';
import { regnetyStages } from '../models/regnety-config.ts';
import { hfDeitNames, hfRegnetName } from '../weights/naming.ts';

export interface HuggingFaceModel {
  /** config.json, labels aside. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: Map<string, StoredTensor>;
}

/**
 * A model with this state (see `saveState`) for transformers: a distilled DeiT is DeiTForImageClassificationWithTeacher, a
 * plain one ViTForImageClassification, and a RegNetY RegNetForImageClassification. Throws
 * `bad-config` for shapes that these classes do not have.
 */
export function huggingFaceModel(model: Classifier, state: ReadonlyMap<string, StoredTensor>): HuggingFaceModel {
  if (model instanceof VisionTransformer) return { config: deitConfigJson(model), tensors: deitTensors(model, state) };
  if (model instanceof RegNetY) {
    const tensors = new Map([...state].map(([name, tensor]) => [hfRegnetName(name), tensor]));
    return { config: regnetConfigJson(model), tensors };
  }
  throw new DeitError('bad-argument', 'transformers has no class for this kind of model.', {
    expected: 'a DeiT or a RegNetY',
    found: (model as object).constructor.name,
  });
}

/** Its DeiT classes always have a distillation token, so that a plain model is a ViT, as facebook publishes it. */
function hfDeitClass(config: DeitConfig): string {
  if (!config.distilled) return 'ViTForImageClassification';
  return hasDistHead(config) ? 'DeiTForImageClassificationWithTeacher' : 'DeiTForImageClassification';
}

function deitConfigJson({ config }: VisionTransformer): Record<string, unknown> {
  const { distilled, width, depth, heads, dFf, eps, imageSize, patchSize, inChans, dropout } = config;
  return {
    architectures: [hfDeitClass(config)],
    model_type: distilled ? 'deit' : 'vit',
    hidden_size: width,
    num_hidden_layers: depth,
    num_attention_heads: heads,
    intermediate_size: dFf,
    hidden_act: 'gelu',
    hidden_dropout_prob: dropout,
    attention_probs_dropout_prob: 0,
    initializer_range: 0.02,
    layer_norm_eps: eps,
    image_size: imageSize,
    patch_size: patchSize,
    num_channels: inChans,
    qkv_bias: true,
  };
}

function deitTensors({ config }: VisionTransformer, state: ReadonlyMap<string, StoredTensor>) {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, tensor] of state) {
    const names = hfDeitNames(name, config);
    const { dtype, bytes } = tensor;
    const [rows, ...rest] = tensor.shape;
    // The parts of a fused qkv are thirds of its rows.
    const size = bytes.length / names.length;
    const shape = names.length === 1 ? tensor.shape : [rows / names.length, ...rest];
    names.forEach((part, i) => {
      tensors.set(part, { dtype, shape, bytes: bytes.subarray(i * size, (i + 1) * size) });
    });
  }
  return tensors;
}

function regnetConfigJson({ config }: RegNetY): Record<string, unknown> {
  const { stemStride, seRatio, stemWidth, groupWidth, inChans } = config;
  const problems = [
    ...(stemStride === 2 ? [] : [`a stem of stride ${stemStride} instead of 2`]),
    ...(seRatio === 0.25 ? [] : [`se_ratio ${seRatio} instead of 0.25`]),
  ];
  if (problems.length > 0) {
    throw new DeitError('bad-config', 'RegNetForImageClassification of transformers does not have this shape.', {
      found: problems.join(', '),
      fix: 'export as ONNX or safetensors',
    });
  }
  const stages = regnetyStages(config);
  return {
    architectures: ['RegNetForImageClassification'],
    model_type: 'regnet',
    num_channels: inChans,
    embedding_size: stemWidth,
    hidden_sizes: stages.map(({ width }) => width),
    depths: stages.map(({ depth }) => depth),
    groups_width: groupWidth,
    layer_type: 'y',
    hidden_act: 'relu',
    downsample_in_first_stage: true,
  };
}
