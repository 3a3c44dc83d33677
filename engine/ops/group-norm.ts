import { DeitError } from '../../kernels/lib/errors.ts';
import { expectShape, formatShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { add, mul } from './binary.ts';
import { layerNorm } from './layer-norm.ts';
import { reshape } from './shape.ts';

/**
 * Normalises each of `groups` groups of channels of each image to mean 0 and variance 1, then scales by `weight` and adds `bias`,
 * both [channels] or null (Wu and He, 2018). x is [batch, channels, ...]. PyTorch's `F.group_norm`.
 */
export function groupNorm(x: Tensor, groups: number, weight: Tensor | null, bias: Tensor | null, eps = 1e-5): Tensor {
  const [batch, channels, ...rest] = x.shape;
  if (x.rank < 2 || !Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
    throw new DeitError('shape-mismatch', 'The channels cannot be parted into these groups.', {
      where: 'groupNorm',
      expected: '[batch, channels, ...], and a number of groups that divides the channels',
      found: `${formatShape(x.shape)} in ${groups} groups`,
    });
  }
  const perGroup = x.size / (batch * groups);
  const normed = reshape(layerNorm(reshape(x, [batch * groups, perGroup]), null, null, eps), x.shape);
  const perChannel = (values: Tensor, what: string): Tensor => {
    expectShape(values.shape, [channels], 'groupNorm', what);
    return reshape(values, [channels, ...rest.map(() => 1)]);
  };
  const scaled = weight ? mul(normed, perChannel(weight, 'the weight')) : normed;
  return bias ? add(scaled, perChannel(bias, 'the bias')) : scaled;
}
