import { DeitError } from '../../kernels/errors.ts';
import { biasGradient } from '../../kernels/matmul/bias-gradient.ts';
import { matmul as matmulKernel } from '../../kernels/matmul/index.ts';
import { defineOp } from '../op.ts';
import { expectShape, formatShape, numel } from '../shape.ts';
import type { BackwardContext } from '../tape.ts';
import type { Tensor } from '../tensor.ts';
import { expectFloat } from './matmul.ts';

interface Sizes {
  /** Rows of x: the product of its dimensions but the last. */
  readonly m: number;
  /** Features out. */
  readonly n: number;
  /** Features in. */
  readonly k: number;
}

const linearOp = defineOp<Sizes>({
  name: 'linear',
  forward(ctx, [x, weight, bias]) {
    const { m, n, k } = ctx.attributes;
    const y = ctx.empty([...x!.shape.slice(0, -1), n]);
    const problem = {
      m,
      n,
      k,
      a: { ld: k, transposed: false },
      b: { ld: k, transposed: true },
      y: { ld: n },
      epilogue: { bias: bias !== null },
    };
    ctx.run(matmulKernel, problem, { a: x!, b: weight!, y, ...(bias && { bias }) });
    ctx.save(x!, weight!);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, weight] = ctx.saved;
    linearBackward(ctx, ctx.attributes, x, weight, dy!);
  },
});

/** dx = dy W, dW = dy^T x, db = column sums of dy, for inputs 0, 1 and 2. */
function linearBackward(ctx: BackwardContext<object>, { m, n, k }: Sizes, x: Tensor, weight: Tensor, dy: Tensor): void {
  if (ctx.needs(0)) {
    const problem = {
      m,
      n: k,
      k: n,
      a: { ld: n, transposed: false },
      b: { ld: k, transposed: false },
      y: { ld: k },
    };
    ctx.run(matmulKernel, problem, { a: dy, b: weight, y: ctx.gradient(0) });
  }
  if (ctx.needs(1)) {
    const problem = { m: n, n: k, k: m, a: { ld: n, transposed: true }, b: { ld: k, transposed: false }, y: { ld: k } };
    ctx.run(matmulKernel, problem, { a: dy, b: x, y: ctx.gradient(1) });
  }
  if (ctx.needs(2)) ctx.run(biasGradient, { m, n }, { dy, db: ctx.gradient(2) });
}

/** y = x weight^T + bias for x [..., in], weight [out, in], bias [out] or null; y [..., out]. As torch.nn.functional.linear. */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null): Tensor {
  return linearOp([x, weight, bias], linearSizes('linear', x, weight, bias))[0];
}

function linearSizes(where: string, x: Tensor, weight: Tensor, bias: Tensor | null): Sizes {
  for (const tensor of [x, weight, bias]) if (tensor) expectFloat(tensor, where);
  const [n, k] = weight.shape;
  if (weight.rank !== 2 || x.rank < 1 || x.shape.at(-1) !== k || x.size === 0) {
    throw new DeitError('shape-mismatch', 'The features of the input do not fit the weight [out, in].', {
      where,
      expected: `x [..., ${k}] that is not empty`,
      found: `x ${formatShape(x.shape)}, weight ${formatShape(weight.shape)}`,
    });
  }
  if (bias) expectShape(bias.shape, [n], where, 'the bias');
  return { m: numel(x.shape) / k, n, k };
}
