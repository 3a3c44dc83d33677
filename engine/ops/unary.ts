import { floatBits } from '../../kernels/lib/broadcast.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { unaryBackward, unaryFormulas, unaryForward } from '../../kernels/unary/index.ts';
import type { UnaryName } from '../../kernels/unary/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';

/** The f32 bits of the numbers that the function takes beside x; absent if it takes none. */
interface Attributes {
  readonly parameters?: readonly number[];
}

/** The operator of this name, as a function of one f32 tensor and the numbers that the formula takes beside it. */
function withParameters(op: UnaryName): (x: Tensor, ...parameters: number[]) => Tensor {
  const { keeps } = unaryFormulas[op];
  const apply = defineOp<Attributes>({
    name: op,
    forward(ctx, [x]) {
      const y = ctx.empty(x!.shape);
      if (x!.size > 0) ctx.run(unaryForward, { op, n: x!.size, ...ctx.attributes }, { x_data: x!, y_data: y });
      if (keeps) ctx.save(keeps === 'x' ? x! : y);
      return [y];
    },
    backward(ctx, [dy]) {
      const dx = ctx.gradient(0);
      if (dx.size === 0) return;
      const kept: Record<string, Tensor> = keeps ? { kept: ctx.saved[0] } : {};
      ctx.run(unaryBackward, { op, n: dx.size, ...ctx.attributes }, { dy_data: dy!, dx_data: dx, ...kept });
    },
  });
  return (x, ...parameters) => {
    expectFloat(x, op);
    return apply([x], parameters.length > 0 ? { parameters: parameters.map(floatBits) } : {})[0];
  };
}

/** The same for a function of x alone. */
function unary(op: UnaryName): (x: Tensor) => Tensor {
  const apply = withParameters(op);
  return (x) => apply(x);
}

/** Throws `bad-argument` for parameters that are no numbers. */
function expectNumbers(where: string, parameters: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(parameters)) {
    if (typeof value === 'number' && !Number.isNaN(value)) continue;
    throw new DeitError('bad-argument', `${name} is a number.`, { where, expected: 'a number', found: String(value) });
  }
}

/** -x. */
export const neg = unary('neg');
/** e to the power of x. */
export const exp = unary('exp');
/** The natural logarithm: -infinity at 0, NaN below. */
export const log = unary('log');
/** The square root: NaN below 0. */
export const sqrt = unary('sqrt');
/** 1 / sqrt(x). */
export const rsqrt = unary('rsqrt');
/** 1 / x. */
export const reciprocal = unary('reciprocal');
/** |x|, with gradient 0 at 0. */
export const abs = unary('abs');
/** x times x. */
export const square = unary('square');
/** max(x, 0), with gradient 0 at 0; NaN stays NaN. */
export const relu = unary('relu');
/** 1 / (1 + exp(-x)). */
export const sigmoid = unary('sigmoid');
/** The hyperbolic tangent. */
export const tanh = unary('tanh');
/** x sigmoid(x), also called swish. */
export const silu = unary('silu');
/** The largest whole number that is not above x. Its gradient is 0, as is that of all steps. */
export const floor = unary('floor');
/** The smallest whole number that is not below x. */
export const ceil = unary('ceil');
/** The nearest whole number; halves go to the even one. */
export const round = unary('round');
/** -1, 0 or 1; 0 for NaN. */
export const sign = unary('sign');
/** The sine of x in radians, to the last digits for large x too; NaN at infinity. */
export const sin = unary('sin');
/** The cosine of x in radians, to the last digits for large x too; NaN at infinity. */
export const cos = unary('cos');
/** log(sigmoid(x)), of which nothing is lost where the sigmoid is near 0 or 1. PyTorch's `F.logsigmoid`. */
export const logSigmoid = unary('logSigmoid');
/** x tanh(softplus(x)) (Misra, 2019). */
export const mish = unary('mish');
/** x relu6(x + 3) / 6 (Howard et al., 2019). */
export const hardswish = unary('hardswish');

const softplusOp = withParameters('softplus');
/** log(1 + exp(beta x)) / beta, or x itself where beta x is above the threshold. PyTorch's `F.softplus`. */
export function softplus(x: Tensor, beta = 1, threshold = 20): Tensor {
  expectNumbers('softplus', { beta, threshold });
  return softplusOp(x, beta, threshold);
}

const eluOp = withParameters('elu');
/** x where it is positive, else alpha (exp(x) - 1) (Clevert et al., 2016). */
export function elu(x: Tensor, alpha = 1): Tensor {
  expectNumbers('elu', { alpha });
  return eluOp(x, alpha);
}

const leakyReluOp = withParameters('leakyRelu');
/** x where it is positive, else negativeSlope x. PyTorch's `F.leaky_relu`. */
export function leakyRelu(x: Tensor, negativeSlope = 0.01): Tensor {
  expectNumbers('leakyRelu', { negativeSlope });
  return leakyReluOp(x, negativeSlope);
}

const clampOp = withParameters('clamp');
/**
 * The elements of x, those below `min` and above `max` replaced by it; NaN stays NaN. `max` wins where it is below `min`. The
 * gradient passes between the bounds, and not at them.
 */
export function clamp(x: Tensor, min = -Infinity, max = Infinity): Tensor {
  expectNumbers('clamp', { min, max });
  return clampOp(x, min, max);
}
