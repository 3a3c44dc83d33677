import { DeitError } from '../../kernels/lib/errors.ts';
import { convOutput } from '../../kernels/conv2d/index.ts';
import type { ConvProblem, ConvTensor } from '../../kernels/conv2d/index.ts';
import { expectFloat } from '../autocast.ts';
import { formatShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';

export interface ConvOptions {
  /** Pixels from one output to the next, both ways; 1 if left out. */
  stride?: number;
  /** Rows and columns of zeros around the image; 0 if left out. */
  padding?: number;
  /** Groups of channels that do not see each other; 1 if left out. */
  groups?: number;
}

/** The problem of a pass, with its tensors (or their gradients) that are f16. */
export function inStorage(problem: ConvProblem, tensors: Readonly<Record<ConvTensor, Tensor>>): ConvProblem {
  const f16 = (['x', 'weight', 'y'] as const).filter((name) => tensors[name].dtype === 'f16');
  return f16.length > 0 ? { ...problem, f16 } : problem;
}

/** The problem of operator `where` on an image and filters. Throws `shape-mismatch` or `bad-argument` if there is none. */
export function convProblem(x: Tensor, weight: Tensor, options: ConvOptions, where: string): ConvProblem {
  for (const tensor of [x, weight]) expectFloat(tensor, where);
  const { stride = 1, padding = 0, groups = 1 } = options;
  const mismatch = (problem: string, expected: string): DeitError =>
    new DeitError('shape-mismatch', problem, {
      where: `${where}(stride ${stride}, padding ${padding}, groups ${groups})`,
      expected,
      found: `x ${formatShape(x.shape)}, weight ${formatShape(weight.shape)}`,
    });
  if (x.rank !== 4 || weight.rank !== 4 || x.size === 0 || weight.size === 0) {
    throw mismatch('The operands of a convolution have four dimensions, none of them empty.', 'x [B, C, H, W]');
  }
  const whole = [stride, groups].every((n) => Number.isInteger(n) && n >= 1);
  if (!whole || !Number.isInteger(padding) || padding < 0) {
    throw new DeitError('bad-argument', 'Stride and groups are whole numbers from 1, the padding from 0.', {
      where,
      found: `stride ${stride}, padding ${padding}, groups ${groups}`,
    });
  }
  const [batch, channels, height, width] = x.shape;
  const [filters, depth, kernelHeight, kernelWidth] = weight.shape;
  if (channels !== depth * groups || filters % groups !== 0) {
    throw mismatch(
      'The channels do not fit the weight.',
      `x with ${depth * groups} channels, and filters divisible by ${groups}`,
    );
  }
  const sizes = { batch, channels, height, width, filters, kernelHeight, kernelWidth };
  const problem: ConvProblem = { ...sizes, stride, padding, groups };
  if (convOutput(problem).some((size) => size < 1)) {
    throw mismatch(
      'The kernel is larger than the padded image.',
      `an image of at least ${kernelHeight} x ${kernelWidth}`,
    );
  }
  return problem;
}
