/**
 * y = a where the condition holds, else b, element by element with broadcasting. A condition holds where its number is not 0:
 * NaN counts, as in C.
 *
 * Gradients, in the shape of y: da = dy where the condition holds, else 0; db the other way round. The caller sums over the
 * dimensions along which an operand was broadcast.
 *
 * Cost: each operand is read and y written once. `deit kernel where` shows the kernels.
 */
import { broadcastSpec } from '../lib/broadcast.ts';
import type { BroadcastOperand } from '../lib/broadcast.ts';
import { pointwise } from '../lib/elementwise.ts';

export interface WhereProblem {
  /** Shape of y. */
  shape: readonly number[];
  condition: BroadcastOperand;
}

const functions = /* wgsl */ `
fn holds4(condition: vec4f) -> vec4<bool> {
  return (bitcast<vec4u>(condition) & vec4u(0x7fffffffu)) != vec4u(0u);
}
`;

/** Bindings condition_data, a_data and b_data (where they are tensors), y_data. */
export const where = pointwise<WhereProblem & { a: BroadcastOperand; b: BroadcastOperand }>(
  'where.forward',
  ({ shape, condition, a, b }) =>
    broadcastSpec({
      name: 'where.forward',
      shape,
      operands: { condition, a, b },
      functions,
      formula: 'select(b, a, holds4(condition))',
      flops: 1,
    }),
);

/** Bindings condition_data, dy_data, and y_data, which is the gradient of a (side 0) or b (side 1). */
export const whereGradient = pointwise<WhereProblem & { side: 0 | 1 }>('where.backward', ({ shape, condition, side }) =>
  broadcastSpec({
    name: 'where.backward',
    shape,
    operands: { condition, dy: { shape } },
    functions,
    formula: side === 0 ? 'select(vec4f(0.0), dy, holds4(condition))' : 'select(dy, vec4f(0.0), holds4(condition))',
    flops: 1,
  }),
);
