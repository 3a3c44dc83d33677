/** Operators of vision models: products, attention, convolution, and what works by channel or token. */
import { attentionForward, attentionKeyValueGradient, attentionQueryGradient } from '../attention/index.ts';
import { batchNormBackward, batchNormForward, batchNormTraining } from '../batch-norm/index.ts';
import { channelSum, convForward, convInputGradient, convOutput, convWeightGradient } from '../conv2d/index.ts';
import { globalAvgPoolForward, globalAvgPoolGradient } from '../global-avg-pool/index.ts';
import { matmul } from '../matmul/index.ts';
import { patchEmbedForward, patchEmbedImage, patchEmbedWeight } from '../patch-embed/index.ts';
import { scaleChannelsForward, scaleChannelsGradient } from '../scale-channels/index.ts';
import { assembleTokens, tokensEmbeddingGradient, tokensPatchGradient } from '../tokens/index.ts';
import { of, operator } from './operator.ts';

const images = { batch: 8, channels: 64, plane: 196 };

/** One stored matrix [rows, columns]. */
const stored = (columns: number, rows: number, transposed: boolean) => ({
  ld: transposed ? rows : columns,
  transposed,
});

const convolution = {
  sizes: { batch: 2, channels: 16, height: 14, width: 14, filters: 32 },
  options: { kernelHeight: 3, kernelWidth: 3, stride: 1, padding: 1, groups: 1 },
};

export const imageOperators = {
  matmul: operator({
    folder: 'matmul',
    sizes: { m: 197, n: 192, k: 192 },
    options: {
      transposeA: false,
      transposeB: false,
      bias: false,
      rowScale: false,
      gelu: false,
      residual: false,
      scale: 1,
      f16: false,
    },
    forward: ({ m, n, k, transposeA, transposeB, bias, rowScale, gelu, residual, scale, f16 }) => [
      of(matmul, {
        ...{ m, n, k, scale, epilogue: { bias, rowScale, gelu, residual }, y: { ld: n } },
        a: stored(k, m, transposeA),
        b: stored(n, k, transposeB),
        f16: f16 ? ['a', 'b', 'y'] : undefined,
      }),
    ],
    backward: ({ m, n, k, transposeA, transposeB, bias, f16 }) => [
      // da = dy b^T, db = a^T dy or, where b is stored as [n, k], dy^T a, with the gradient of the bias.
      of(matmul, {
        ...{ m, n: k, k: n, y: { ld: k } },
        a: stored(n, m, false),
        b: stored(k, n, !transposeB),
        f16: f16 ? ['a', 'b', 'y'] : undefined,
      }),
      transposeB
        ? of(matmul, {
            ...{ m: n, n: k, k: m, y: { ld: k }, rowSums: bias },
            a: stored(m, n, true),
            b: stored(k, m, transposeA),
            f16: f16 ? ['a', 'b'] : undefined,
          })
        : of(matmul, {
            ...{ m: k, n, k: m, y: { ld: n } },
            a: stored(m, k, !transposeA),
            b: stored(n, m, false),
            f16: f16 ? ['a', 'b', 'y'] : undefined,
          }),
    ],
  }),
  attention: operator({
    folder: 'attention',
    sizes: { batch: 1, tokens: 197, heads: 3, width: 64 },
    options: { f16: false },
    forward: (p) => [of(attentionForward, p)],
    backward: (p) => [of(attentionQueryGradient, p), of(attentionKeyValueGradient, p)],
  }),
  conv2d: operator({
    folder: 'conv2d',
    sizes: convolution.sizes,
    options: { ...convolution.options, bias: true },
    forward: (p) => [of(convForward, p)],
    backward: (p) => {
      const [height, width] = convOutput(p);
      const result = { batch: p.batch, channels: p.filters, plane: height * width };
      return [of(convInputGradient, p), of(convWeightGradient, p), ...(p.bias ? [of(channelSum, result)] : [])];
    },
  }),
  conv_transpose2d: operator({
    folder: 'conv2d',
    // Those of the convolution whose input gradient this is: its filters are the channels that come in.
    ...convolution,
    forward: (p) => [of(convInputGradient, p)],
    backward: (p) => [of(convForward, { ...p, bias: false }), of(convWeightGradient, p)],
  }),
  patch_embed: operator({
    folder: 'patch-embed',
    sizes: { batch: 2, gridHeight: 14, gridWidth: 14, width: 192 },
    options: { channels: 3, patch: 16 },
    forward: (p) => [of(patchEmbedForward, p)],
    backward: (p) => [of(patchEmbedWeight, p), of(patchEmbedImage, p)],
  }),
  assemble_tokens: operator({
    folder: 'tokens',
    sizes: { batch: 2, patches: 196, width: 192 },
    options: { dist: true },
    forward: (p) => [of(assembleTokens, p)],
    backward: (p) => [
      of(tokensPatchGradient, p),
      of(tokensEmbeddingGradient, { ...p, wanted: p.dist ? ['dpos', 'dcls', 'ddist'] : ['dpos', 'dcls'] }),
    ],
  }),
  batch_norm: operator({
    folder: 'batch-norm',
    sizes: images,
    options: { relu: false, training: true, momentum: 0.1, eps: 1e-5 },
    forward: (p) => [p.training ? of(batchNormTraining, p) : of(batchNormForward, p)],
    backward: (p) => [of(batchNormBackward, { ...p, inputGradient: true })],
  }),
  global_avg_pool: operator({
    folder: 'global-avg-pool',
    sizes: images,
    forward: (p) => [of(globalAvgPoolForward, p)],
    backward: (p) => [of(globalAvgPoolGradient, { ...p, pending: false })],
  }),
  scale_channels: operator({
    folder: 'scale-channels',
    sizes: images,
    forward: (p) => [of(scaleChannelsForward, p)],
    backward: (p) => [of(scaleChannelsGradient, p)],
  }),
};
