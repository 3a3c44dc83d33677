/**
 * Batch normalisation by channel over images and pixels, N = batch * plane values each (Ioffe and Szegedy 2015):
 *   y = (x - mean) * rstd * weight + bias, and, if asked for, its ReLU,   rstd = 1 / sqrt(variance + eps)
 * In training, mean and (biased) variance are those of the batch: each chunk of a channel sweeps its values twice, for
 * their mean and for the sum of squared deviations from it (and of the deviations, to correct both for the rounding of
 * the mean), and the chunks are merged by Chan's formula. The running statistics move to the batch's by `momentum`, the variance
 * in its unbiased form, as in PyTorch. Saved for backward: x, mean, rstd. Gradients, written: with d = dy (zero where a fused ReLU gave zero) and h = (x - mean) * rstd,
 *   dbias = sum d,  dweight = sum d h,  dx = weight * rstd * (d - dbias / N - h * dweight / N)
 * and in evaluation, where the statistics are constants, dx = weight * rstd * d.
 * Cost: 8 FLOP an element forward in training and 3 in evaluation, 12 backward; memory traffic decides. `deit kernel batch_norm`
 * shows the kernels.
 */
import { tensorBytes } from '../lib/channels.ts';
import { ceilDiv } from '../lib/device.ts';
import { f32, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import { backwardByChunks } from './backward.ts';
import { forwardByChannel, trainingByChunks } from './forward.ts';
import { backwardPlain, forwardPlain, trainingPlain } from './plain.ts';
import { checkedTraining } from './problem.ts';
import type { BatchNormBackwardProblem, BatchNormProblem, BatchNormTrainingProblem } from './problem.ts';

export type { BatchNormBackwardProblem, BatchNormProblem } from './problem.ts';

/** mean and rstd of x's channels, the running statistics brought up to date, and y. */
export const batchNormTraining = kernelOf<BatchNormTrainingProblem>('batch_norm.training', checkedTraining, [
  { name: 'chunks', fits: () => true, launches: trainingByChunks },
  plain(tensorBytes, trainingPlain),
]);

/** y from x, mean, rstd, weight and bias. */
export const batchNormForward = kernelOf<BatchNormProblem>('batch_norm.forward', (problem) => problem, [
  { name: 'by_channel', fits: () => true, launches: forwardByChannel },
  plain(tensorBytes, forwardPlain),
]);

/** dweight, dbias and dx. In evaluation mode dx does not depend on the others. */
export const batchNormBackward = kernelOf<BatchNormBackwardProblem>('batch_norm.backward', (problem) => problem, [
  { name: 'chunks', fits: () => true, launches: backwardByChunks },
  plain(tensorBytes, backwardPlain),
]);

/** rstd = 1 / sqrt(variance + eps), for evaluation. */
export const reciprocalDeviation: Kernel<{ channels: number; eps: number }> = ({ channels, eps }) => [
  launch({
    name: 'batch_norm.reciprocal_deviation',
    bindings: [input('variance'), output('rstd')],
    uniforms: { channels: u32(channels), eps: f32(eps) },
    wgsl: /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.channels) { rstd[id.x] = 1.0 / sqrt(variance[id.x] + params.eps); }
}`,
    grid: [ceilDiv(channels, 64), 1, 1],
    cost: { flops: 3 * channels, bytes: 8 * channels },
  }),
];
