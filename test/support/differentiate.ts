import type { Engine, Tensor } from '../../engine/node.ts';
import { uniform } from './close.ts';

export interface Operand {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

export interface Differentiated {
  readonly y: ArrayLike<number>;
  readonly shape: readonly number[];
  /** The upstream gradient that was used. */
  readonly dy: Float32Array;
  /** The gradient of each operand. */
  readonly gradients: ArrayLike<number>[];
}

/** Runs f32 operands through `f` in one scope, and back with an upstream gradient (drawn, unless given). */
export async function differentiate(
  engine: Engine,
  operands: readonly Operand[],
  f: (...xs: Tensor[]) => Tensor,
  upstream?: Float32Array,
): Promise<Differentiated> {
  const { y, shape, dy, gradients } = engine.scope(() => {
    const xs = operands.map(({ data, shape }) => engine.tensor(data, shape).requiresGrad_());
    const y = f(...xs);
    const dy = upstream ?? uniform(y.size, 99);
    y.backward(engine.tensor(dy, y.shape));
    return { y: y.read(), shape: y.shape, dy, gradients: xs.map((x) => x.grad!.read()) };
  });
  return { y: await y, shape, dy, gradients: await Promise.all(gradients) };
}
