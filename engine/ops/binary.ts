import { binaryForward, binaryFormulas, binaryGradient } from '../../kernels/binary/index.ts';
import type { BinaryName, BinaryProblem, Operand } from '../../kernels/binary/index.ts';
import { floatBits } from '../../kernels/lib/broadcast.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { broadcastShapes, sameShape } from '../tensor-shape.ts';
import { Tensor } from '../tensor.ts';
import { broadcastDims, reduceInto } from './reduce.ts';

type Operands = Omit<BinaryProblem, 'op'>;

/** The operator of this name: broadcasts its operands, of which one may be a number. */
function binary(op: BinaryName): (a: Tensor | number, b: Tensor | number) => Tensor {
  const { gradients } = binaryFormulas[op];
  /** Operands that the gradients which are wanted read. */
  const usedBy = (ctx: { needs(side: number): boolean }): Operand[] =>
    (gradients ?? []).flatMap((gradient, side) => (ctx.needs(side) ? gradient.uses : []));

  const apply = defineOp<Operands>({
    name: op,
    forward(ctx, [a, b]) {
      const y = ctx.empty(ctx.attributes.shape);
      const named = { ...(a ? { a_data: a } : {}), ...(b ? { b_data: b } : {}) };
      if (y.size > 0) ctx.run(binaryForward, { op, ...ctx.attributes }, { ...named, y_data: y });
      const used = usedBy(ctx);
      // Saved by position; an operand that no gradient uses gives its place to the other.
      ctx.save(...[a, b].filter((tensor, i) => tensor !== null && used.includes(i === 0 ? 'a' : 'b')).map((t) => t!));
      return [y];
    },
    backward:
      gradients &&
      ((ctx, [dy]) => {
        const { shape } = ctx.attributes;
        const used = usedBy(ctx);
        const saved = [...ctx.saved];
        const named: Record<string, Tensor> = {};
        for (const name of ['a', 'b'] as const) {
          if (used.includes(name) && 'shape' in ctx.attributes[name]) named[`${name}_data`] = saved.shift()!;
        }
        for (const side of [0, 1] as const) {
          if (!ctx.needs(side)) continue;
          const own = ctx.inputShape(side);
          const { formula } = gradients[side];
          const whole = sameShape(own, shape);
          if (whole && (formula === 'dy' || dy!.size === 0)) {
            ctx.pass(side, dy!);
            continue;
          }
          const dims = broadcastDims(own, shape);
          if (formula === 'dy' || (formula === '-dy' && !whole)) {
            reduceInto(ctx, 'sum', dy!, dims, ctx.gradient(side), formula === 'dy' ? 1 : -1);
            continue;
          }
          const full = whole ? ctx.gradient(side) : ctx.empty(shape);
          ctx.run(binaryGradient, { op, ...ctx.attributes, side }, { ...named, dy_data: dy!, y_data: full });
          if (!whole) reduceInto(ctx, 'sum', full, dims, ctx.gradient(side));
        }
      }),
  });

  return (a, b) => {
    const tensors = [a, b].map((operand) =>
      typeof operand === 'number' ? null : gradients || !(operand instanceof Tensor) ? operand : operand.detach(),
    );
    for (const tensor of tensors) if (tensor) expectFloat(tensor, op);
    if (!tensors[0] && !tensors[1]) {
      throw new DeitError('bad-argument', 'At least one operand is a tensor.', { where: op, found: 'two numbers' });
    }
    const describe = (operand: Tensor | number) =>
      typeof operand === 'number' ? { bits: floatBits(operand) } : { shape: operand.shape };
    const shape = broadcastShapes(tensors[0]?.shape ?? [], tensors[1]?.shape ?? [], op);
    return apply(tensors, { shape, a: describe(a), b: describe(b) })[0];
  };
}

/** a + b. Operands broadcast; either may be a number. */
export const add = binary('add');
/** a - b. Operands broadcast; either may be a number. */
export const sub = binary('sub');
/** a times b. Operands broadcast; either may be a number. */
export const mul = binary('mul');
/** a / b. Operands broadcast; either may be a number. */
export const div = binary('div');
/** The larger of a and b; NaN if one is. Where they are equal each has half of the gradient. */
export const maximum = binary('maximum');
/** The smaller of a and b; NaN if one is. Where they are equal each has half of the gradient. */
export const minimum = binary('minimum');
/** a to the power of b. A negative base takes whole exponents only, and its exponent has no finite gradient. */
export const pow = binary('pow');

/** 1 where a = b, else 0: f32, as all comparisons. They have no gradient; NaN equals nothing, itself included. */
export const eq = binary('eq');
/** 1 where a and b differ, else 0. */
export const ne = binary('ne');
/** 1 where a < b, else 0. */
export const lt = binary('lt');
/** 1 where a <= b, else 0. */
export const le = binary('le');
/** 1 where a > b, else 0. */
export const gt = binary('gt');
/** 1 where a >= b, else 0. */
export const ge = binary('ge');
