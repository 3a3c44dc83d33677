/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { matmul } from '../../engine/node.ts';
import { MATMUL_CASES } from '../cases/matmul.ts';
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

describe('matmul', () => {
  it.each(MATMUL_CASES)('$name', async (problem) => {
    const a = uniform(numel(problem.a), 1);
    const b = uniform(numel(problem.b), 2);
    const x = engine().tensor(a, problem.a).requiresGrad_();
    const w = engine().tensor(b, problem.b).requiresGrad_();
    const { transposeA = false, transposeB = false } = problem;
    const y = matmul(x, w, { transposeA, transposeB });
    const expected = matmulReference(problem, a, b);
    expect(y.shape).toEqual(expected.shape);
    expectSums(await y.read(), expected);

    // The gradient of <y, g>, from its definition: perturbing one operand is itself a product, so each is another case,
    // summed over the batches that broadcast.
    const g = uniform(y.size, 3);
    y.backward(engine().tensor(g, y.shape));
    const gradients = productGradients(problem, a, b, g, y.shape);
    expectClose(await x.grad!.read(), gradients.da, 1e-5, 'da');
    expectClose(await w.grad!.read(), gradients.db, 1e-5, 'db');
  });

  it('names the inner dimensions that differ', () => {
    const [a, b] = [engine().zeros([2, 3]), engine().zeros([4, 5])];
    expect(() => matmul(a, b)).toThrow(/shape-mismatch[\s\S]*\[2, 3\] and \[4, 5\]/);
    expect(() => matmul(a, engine().zeros([3]))).toThrow(/two dimensions/);
    expect(() => matmul(a, engine().tensor([1, 2, 3], [3, 1], 'i32'))).toThrow(/dtype-mismatch/);
  });
});

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
