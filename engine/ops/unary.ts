import { unaryBackward, unaryFormulas, unaryForward } from '../../kernels/unary/index.ts';
import type { UnaryName } from '../../kernels/unary/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';

/** The operator of this name, as a function of one f32 tensor. */
function unary(op: UnaryName): (x: Tensor) => Tensor {
  const { keeps } = unaryFormulas[op];
  const apply = defineOp<object>({
    name: op,
    forward(ctx, [x]) {
      const y = ctx.empty(x!.shape);
      if (x!.size > 0) ctx.run(unaryForward, { op, n: x!.size }, { x_data: x!, y_data: y });
      if (keeps) ctx.save(keeps === 'x' ? x! : y);
      return [y];
    },
    backward(ctx, [dy]) {
      const dx = ctx.gradient(0);
      if (dx.size === 0) return;
      const kept: Record<string, Tensor> = keeps ? { kept: ctx.saved[0] } : {};
      ctx.run(unaryBackward, { op, n: dx.size }, { dy_data: dy!, dx_data: dx, ...kept });
    },
  });
  return (x) => {
    expectFloat(x, op);
    return apply([x], {})[0];
  };
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
