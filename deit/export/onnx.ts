/** Models as ONNX. Browser-safe; `node/onnx-file.ts` writes the file. */
import { DeitError, numel, toFloat32 } from '../../engine/index.ts';
import type { StoredTensor } from '../../engine/index.ts';
import type { Classifier } from '../models/classifier.ts';
import { VisionTransformer } from '../models/deit.ts';
import { RegNetY } from '../models/regnety.ts';
import { deitGraph } from './onnx-deit.ts';
import { IR_VERSION, OPSET, OnnxGraph } from './onnx-graph.ts';
import type { OnnxFloat, OnnxLogits, Weights } from './onnx-graph.ts';
import { regnetyGraph } from './onnx-regnety.ts';

export interface OnnxOptions {
  /** What weights are stored in and the graph computes on; images and logits are f32 either way. */
  readonly dtype: OnnxFloat;
  /**
   * `average`: one output `logits`, of a distilled model the average of both heads. `both`: outputs `cls_logits` and
   * `distillation_logits`, as transformers calls them; only for distilled models.
   */
  readonly heads: 'average' | 'both';
  /** Side of the square images, for models that take any. */
  readonly imageSize: number;
  /** Free text for `metadata_props`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Version of this package. */
  readonly version: string;
}

/** Protocol buffers hold less than 2 GiB. */
const MAX_BYTES = 2 ** 31 - 1;

/**
 * The ModelProto of a model with this state (see `saveState`): input `pixel_values` [batch, 3, side, side], normalised;
 * outputs by `heads`, [batch, classes]. The batch is free. Throws `limit-exceeded` for models of 2 GiB and more, `bad-config`
 * where there are no two heads, `non-finite` for weights beyond f16.
 */
export function onnxModel(model: Classifier, state: ReadonlyMap<string, StoredTensor>, options: OnnxOptions): object {
  const { dtype, heads, imageSize, metadata, version } = options;
  checkSize(state, dtype);
  if (heads === 'both' && !model.distilled) {
    throw new DeitError('bad-config', 'The model has one head.', {
      where: '--heads both',
      fix: 'export with --heads average, which for this model is the class head',
    });
  }
  const graph = new OnnxGraph(dtype);
  const images = graph.input('pixel_values', ['batch', inputChannels(model), imageSize, imageSize]);
  const { cls, dist } = logitsOf(graph, model, state, images);
  const shape = ['batch', model.classes];
  if (dist === null) graph.output('logits', cls, shape);
  else if (heads === 'both') {
    graph.output('cls_logits', cls, shape);
    graph.output('distillation_logits', dist, shape);
  } else {
    const sum = graph.node('Add', 'average/Add', [cls, dist]);
    graph.output('logits', graph.node('Mul', 'average', [sum, 'half']), shape);
  }
  return {
    irVersion: IR_VERSION,
    opsetImport: [{ domain: '', version: OPSET }],
    producerName: 'deit-webgpu',
    producerVersion: version,
    graph: graph.build(metadata.model ?? 'model'),
    metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
  };
}

const inputChannels = (model: Classifier): number =>
  model instanceof VisionTransformer || model instanceof RegNetY ? model.config.inChans : 3;

function logitsOf(
  graph: OnnxGraph,
  model: Classifier,
  state: ReadonlyMap<string, StoredTensor>,
  images: string,
): OnnxLogits {
  const weights: Weights = (name) => {
    const stored = state.get(name);
    if (stored) return toFloat32(stored);
    throw new DeitError('state-mismatch', 'A weight of the model is missing.', { where: name });
  };
  if (model instanceof VisionTransformer) return deitGraph(graph, model.config, weights, images);
  if (model instanceof RegNetY) return regnetyGraph(graph, model.config, weights, images);
  throw new DeitError('bad-argument', 'This kind of model has no export to ONNX.', {
    expected: 'a DeiT or a RegNetY',
    found: (model as object).constructor.name,
  });
}

function checkSize(state: ReadonlyMap<string, StoredTensor>, dtype: OnnxFloat): void {
  const numbers = [...state.values()].reduce((sum, { shape }) => sum + numel(shape), 0);
  const bytes = numbers * (dtype === 'f16' ? 2 : 4);
  if (bytes <= MAX_BYTES) return;
  throw new DeitError('limit-exceeded', 'The model is too large for an ONNX file, which holds less than 2 GiB.', {
    found: `${(bytes / 2 ** 30).toFixed(2)} GiB of weights in ${dtype}`,
    fix: dtype === 'f32' && bytes / 2 <= MAX_BYTES ? 'export in f16' : 'export as safetensors',
  });
}
