import type { DeitConfig } from '../models/deit-config.ts';
import { gridSide, hasDistHead, prefixTokens, tokenCount } from '../models/deit-config.ts';
import type { OnnxGraph, OnnxLogits, Weights } from './onnx-graph.ts';

/**
 * The forward pass of a DeiT in evaluation mode, images [B, C, H, W] to the logits of its heads. Linear layers are
 * MatMul and Add with the weight stored transposed, as PyTorch's exporter writes them; GELU is the exact one, by Erf, in the
 * form that runtimes recognise and fuse. No node depends on the batch: shapes are constants with 0 for "as it comes".
 */
export function deitGraph(graph: OnnxGraph, config: DeitConfig, weights: Weights, images: string): OnnxLogits {
  const { width, depth, heads, classes, eps } = config;
  const tokens = tokenCount(config);
  const headWidth = width / heads;
  const two = graph.scalar('sqrt_2', Math.SQRT2);
  const one = graph.scalar('one', 1);
  const half = graph.scalar('half', 0.5);
  const scale = graph.scalar('attention_scale', 1 / Math.sqrt(headWidth));
  const perHead = graph.integers('shape_per_head', [0, tokens, heads, headWidth]);
  const joined = graph.integers('shape_joined', [0, tokens, width]);

  const layerNorm = (name: string, x: string): string => {
    const parameters = ['weight', 'bias'].map((part) =>
      graph.weight(`${name}.${part}`, [width], weights(`${name}.${part}`)),
    );
    return graph.node('LayerNormalization', name, [x, ...parameters], { axis: -1, epsilon: { float: eps } });
  };
  const linear = (name: string, x: string, inputs: number, outputs: number): string => {
    const weight = transposed(weights(`${name}.weight`), outputs, inputs);
    const product = graph.node('MatMul', `${name}/MatMul`, [
      x,
      graph.weight(`${name}.weight`, [inputs, outputs], weight),
    ]);
    return graph.node('Add', name, [graph.weight(`${name}.bias`, [outputs], weights(`${name}.bias`)), product]);
  };

  const attention = (name: string, x: string): string => {
    const qkv = linear(`${name}.qkv`, x, width, 3 * width);
    const [q, k, v] = graph.split('Split', `${name}/Split`, [qkv], [`${name}/q`, `${name}/k`, `${name}/v`], {
      axis: 2,
    });
    const apart = (part: string, perm: readonly number[]): string =>
      graph.node('Transpose', `${part}/heads`, [graph.node('Reshape', `${part}/Reshape`, [part, perHead])], { perm });
    const scaled = graph.node('Mul', `${name}/scaled`, [apart(q, [0, 2, 1, 3]), scale]);
    const scores = graph.node('MatMul', `${name}/scores`, [scaled, apart(k, [0, 2, 3, 1])]);
    const probabilities = graph.node('Softmax', `${name}/probabilities`, [scores], { axis: -1 });
    const attended = graph.node('MatMul', `${name}/attended`, [probabilities, apart(v, [0, 2, 1, 3])]);
    const inRows = graph.node('Transpose', `${name}/Transpose`, [attended], { perm: [0, 2, 1, 3] });
    return linear(`${name}.proj`, graph.node('Reshape', `${name}/Reshape`, [inRows, joined]), width, width);
  };
  const gelu = (name: string, x: string): string => {
    const erf = graph.node('Erf', `${name}/Erf`, [graph.node('Div', `${name}/Div`, [x, two])]);
    const gate = graph.node('Add', `${name}/Add`, [erf, one]);
    return graph.node('Mul', name, [graph.node('Mul', `${name}/Mul`, [x, gate]), half]);
  };
  const mlp = (name: string, x: string): string => {
    const hidden = gelu(`${name}.act`, linear(`${name}.fc1`, x, width, config.dFf));
    return linear(`${name}.fc2`, hidden, config.dFf, width);
  };

  let x = embedding(graph, config, weights, images);
  for (let i = 0; i < depth; i++) {
    const block = `blocks.${i}`;
    const y = graph.node('Add', `${block}/Add`, [x, attention(`${block}.attn`, layerNorm(`${block}.norm1`, x))]);
    x = graph.node('Add', block, [y, mlp(`${block}.mlp`, layerNorm(`${block}.norm2`, y))]);
  }
  // The norm works token by token: only those that the heads see need it.
  const first = graph.integers('first_token', [0]);
  const end = graph.integers('first_patch', [prefixTokens(config)]);
  const axis = graph.integers('token_axis', [1]);
  const normed = layerNorm('norm', graph.node('Slice', 'norm/Slice', [x, first, end, axis]));
  const head = (name: string, token: string, index: number): string =>
    // A single index takes the axis away: [B, tokens, D] to [B, D].
    linear(
      name,
      graph.node('Gather', `${name}/Gather`, [normed, graph.integer(token, index)], { axis: 1 }),
      width,
      classes,
    );
  return {
    cls: head('head', 'class_token', 0),
    dist: hasDistHead(config) ? head('head_dist', 'distillation_token', 1) : null,
  };
}

/**
 * Images to tokens [B, N, D]: patches by a convolution with rows of zeros before them, plus a table in which the class and
 * distillation tokens are already added to their positions. It gives the values of a concatenation without expanding the tokens
 * to the batch.
 */
function embedding(graph: OnnxGraph, config: DeitConfig, weights: Weights, images: string): string {
  const { width, inChans, patchSize } = config;
  const prefix = prefixTokens(config);
  const kernel = graph.weight(
    'patch_embed.proj.weight',
    [width, inChans, patchSize, patchSize],
    weights('patch_embed.proj.weight'),
  );
  const bias = graph.weight('patch_embed.proj.bias', [width], weights('patch_embed.proj.bias'));
  const square = [patchSize, patchSize];
  const patches = graph.node('Conv', 'patch_embed.proj', [images, kernel, bias], {
    kernel_shape: square,
    strides: square,
  });
  const flat = graph.integers('shape_patches', [0, width, gridSide(config) ** 2]);
  const rows = graph.node('Transpose', 'patch_embed', [graph.node('Reshape', 'patch_embed/Reshape', [patches, flat])], {
    perm: [0, 2, 1],
  });
  const padding = graph.integers('prefix_padding', [0, prefix, 0, 0, 0, 0]);
  const padded = graph.node('Pad', 'prefix', [rows, padding]);
  const table = Float32Array.from(weights('pos_embed'));
  ['cls_token', 'dist_token'].slice(0, prefix).forEach((name, row) => {
    weights(name).forEach((value, i) => (table[row * width + i] += value));
  });
  return graph.node('Add', 'pos_embed/Add', [padded, graph.weight('pos_embed', [1, tokenCount(config), width], table)]);
}

/** A matrix [rows, columns] as [columns, rows]. */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = values[row * columns + column];
  }
  return result;
}
