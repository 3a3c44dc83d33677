import { describe, expect, it } from 'vitest';
import { add, dropPathAdd, gelu, linear, linearAdd, mlp } from '../../engine/node.ts';
import type { Tensor } from '../../engine/node.ts';
import type { MATMUL_CASES } from '../cases/matmul.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { matmulReference } from '../../kernels/matmul/reference.ts';

const engine = useEngine();
const numel = (shape: readonly number[]): number => shape.reduce((x, y) => x * y, 1);

/** Any order of summation of k products in f32 is within k roundings of sum |a||b|; a random walk stays far below. */
function expectSums(found: ArrayLike<number>, expected: { values: Float64Array; magnitudes: Float64Array; k: number }) {
  const rounding = 2 ** -24 * (8 + 4 * Math.sqrt(expected.k));
  expect(found.length).toBe(expected.values.length);
  let worst = 0;
  for (let i = 0; i < found.length; i++) {
    const error = Math.abs(found[i] - expected.values[i]) / (expected.magnitudes[i] + 1e-30);
    if (!(error <= worst)) worst = error;
  }
  expect(worst).toBeLessThanOrEqual(rounding);
}

/** d<y, g>/da and d<y, g>/db by definition, in float64. */
function productGradients(
  problem: (typeof MATMUL_CASES)[number],
  a: Float32Array,
  b: Float32Array,
  g: Float32Array,
  shape: readonly number[],
) {
  const da = new Float64Array(a.length);
  const db = new Float64Array(b.length);
  const [m, n] = shape.slice(-2);
  const k = problem.transposeA ? problem.a.at(-2)! : problem.a.at(-1)!;
  const batch = shape.slice(0, -2);
  const strides = (own: readonly number[]): number[] =>
    batch.map((_, axis) => {
      const at = own.length - 2 - batch.length + axis;
      return at >= 0 && own[at] > 1 ? numel(own.slice(at + 1)) : 0;
    });
  const [aSteps, bSteps] = [strides(problem.a), strides(problem.b)];
  for (let z = 0; z < numel(batch); z++) {
    let [a0, b0, rest] = [0, 0, z];
    for (let axis = batch.length - 1; axis >= 0; axis--) {
      a0 += (rest % batch[axis]) * aSteps[axis];
      b0 += (rest % batch[axis]) * bSteps[axis];
      rest = Math.floor(rest / batch[axis]);
    }
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        const upstream = g[(z * m + i) * n + j];
        for (let l = 0; l < k; l++) {
          const ai = a0 + (problem.transposeA ? l * m + i : i * k + l);
          const bi = b0 + (problem.transposeB ? j * k + l : l * n + j);
          da[ai] += upstream * b[bi];
          db[bi] += upstream * a[ai];
        }
      }
    }
  }
  return { da, db };
}

describe('linear', () => {
  it.each([
    { lead: [5], k: 4, n: 3, bias: true },
    { lead: [], k: 4, n: 3, bias: true },
    { lead: [2, 33], k: 65, n: 31, bias: true },
    { lead: [2, 18], k: 192, n: 68, bias: false },
    { lead: [3], k: 700, n: 10, bias: true },
    { lead: [2, 101], k: 131, n: 129, bias: true },
  ])('$lead x $k to $n, bias $bias', async ({ lead, k, n, bias }) => {
    const m = numel(lead);
    const [x, w, c] = [uniform(m * k, 4), uniform(n * k, 5), uniform(n, 6)];
    const tx = engine()
      .tensor(x, [...lead, k])
      .requiresGrad_();
    const tw = engine().tensor(w, [n, k]).requiresGrad_();
    const tc = bias ? engine().tensor(c, [n]).requiresGrad_() : null;
    const y = linear(tx, tw, tc);
    expect(y.shape).toEqual([...lead, n]);
    const problem = { a: [m, k], b: [n, k], transposeB: true };
    const expected = matmulReference(problem, x, w);
    for (let i = 0; bias && i < m * n; i++) {
      expected.values[i] += c[i % n];
      expected.magnitudes[i] += Math.abs(c[i % n]);
    }
    expectSums(await y.read(), expected);

    const g = uniform(m * n, 7);
    y.backward(engine().tensor(g, y.shape));
    const { da, db } = productGradients({ name: '', ...problem }, x, w, g, [m, n]);
    expectClose(await tx.grad!.read(), da, 1e-5, 'dx');
    expectClose(await tw.grad!.read(), db, 1e-5, 'dW');
    if (tc) {
      const dc = new Float64Array(n);
      g.forEach((value, i) => (dc[i % n] += value));
      expectClose(await tc.grad!.read(), dc, 1e-5, 'db');
    }
  });
});

describe('what is fused with linear', () => {
  const [m, width, hidden] = [37, 24, 44];
  const leaves = () => ({
    x: engine()
      .tensor(uniform(m * width, 1), [m, width])
      .requiresGrad_(),
    w1: engine()
      .tensor(uniform(hidden * width, 2, 0.3), [hidden, width])
      .requiresGrad_(),
    b1: engine().tensor(uniform(hidden, 3), [hidden]).requiresGrad_(),
    w2: engine()
      .tensor(uniform(width * hidden, 4, 0.3), [width, hidden])
      .requiresGrad_(),
    b2: engine().tensor(uniform(width, 5), [width]).requiresGrad_(),
    r: engine()
      .tensor(uniform(m * width, 6), [m, width])
      .requiresGrad_(),
  });
  type Leaves = ReturnType<typeof leaves>;

  /** Value and gradients of one expression on fresh leaves. */
  async function evaluate(expression: (leaves: Leaves) => Tensor) {
    const own = leaves();
    const y = expression(own);
    y.backward(engine().tensor(uniform(y.size, 7), y.shape));
    const found: Record<string, Float32Array> = { y: (await y.read()) as Float32Array };
    for (const [name, leaf] of Object.entries(own))
      if (leaf.grad) found[name] = (await leaf.grad.read()) as Float32Array;
    return found;
  }

  it.each<[string, (l: Leaves) => Tensor, (l: Leaves) => Tensor]>([
    [
      'linearAdd',
      (l) => linearAdd(l.x, l.w1, l.b1, linear(l.r, l.w1, null)),
      (l) => add(linear(l.r, l.w1, null), linear(l.x, l.w1, l.b1)),
    ],
    ['mlp', (l) => mlp(l.x, l.w1, l.b1, l.w2, l.b2), (l) => linear(gelu(linear(l.x, l.w1, l.b1)), l.w2, l.b2)],
    [
      'mlp with residual',
      (l) => mlp(l.x, l.w1, l.b1, l.w2, l.b2, l.r),
      (l) => add(l.r, linear(gelu(linear(l.x, l.w1, l.b1)), l.w2, l.b2)),
    ],
    [
      'mlp with stochastic depth',
      (l) => mlp(l.x, l.w1, l.b1, l.w2, l.b2, l.r, { rate: 0.5, stream: 3 }),
      (l) => dropPathAdd(l.r, linear(gelu(linear(l.x, l.w1, l.b1)), l.w2, l.b2), 0.5, 3),
    ],
    [
      'mlp without biases',
      (l) => mlp(l.x, l.w1, null, l.w2, null, l.r),
      (l) => add(l.r, linear(gelu(linear(l.x, l.w1, null)), l.w2, null)),
    ],
  ])('%s equals its parts', async (_, fused, parts) => {
    const [found, expected] = [await evaluate(fused), await evaluate(parts)];
    expect(Object.keys(found)).toEqual(Object.keys(expected));
    // The same sums, at most in another order: a few roundings.
    for (const name of Object.keys(expected)) expectClose(found[name], expected[name], 2e-6, name);
  });

  it('gives a bias its gradient when the weight is frozen', async () => {
    const { x, w1, b1 } = leaves();
    w1.requiresGrad_(false);
    const g = uniform(m * hidden, 8);
    linear(x, w1, b1).backward(engine().tensor(g, [m, hidden]));
    const sums = new Float64Array(hidden);
    g.forEach((value, i) => (sums[i % hidden] += value));
    expectClose(await b1.grad!.read(), sums, 1e-6);
    expect(w1.grad).toBeNull();
  });
});
