import { describe, expect, it } from 'vitest';
import { linear } from '../../engine/node.ts';
import { matmul } from '../../kernels/matmul/index.ts';
import type { MatmulProblem } from '../../kernels/matmul/index.ts';
import { expectClose, uniform } from '../support/close.ts';
import { matmulReference } from '../../kernels/matmul/reference.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

/** Rows, features in and out: a GPU takes the weight's gradient of the second in parts, with a rest. */
const CASES = [
  { m: 37, k: 24, n: 12 },
  { m: 795, k: 44, n: 28 },
];

describe.each(PROFILES)('linear on $name', ({ claims }) => {
  const engine = useEngineAs(claims);

  it.each(CASES)('$m rows, $k to $n', async ({ m, k, n }) => {
    const [x, w, b, g] = [uniform(m * k, 1), uniform(n * k, 2), uniform(n, 3), uniform(m * n, 4)];
    const tx = engine().tensor(x, [m, k]).requiresGrad_();
    const tw = engine().tensor(w, [n, k]).requiresGrad_();
    const tb = engine().tensor(b, [n]).requiresGrad_();
    const y = linear(tx, tw, tb);
    y.backward(engine().tensor(g, [m, n]));
    const product = (a: number[], c: number[], p: Float32Array, q: Float32Array, ta: boolean, tc: boolean) =>
      matmulReference({ a, b: c, transposeA: ta, transposeB: tc }, p, q).values;
    const expected = product([m, k], [n, k], x, w, false, true).map((value, i) => value + b[i % n]);
    const db = new Float64Array(n);
    g.forEach((value, i) => (db[i % n] += value));
    // Sums of up to 795 products in f32: a few 2^-24 times its square root, relative to the norm.
    expectClose(await y.read(), expected, 2e-6, 'y');
    expectClose(await tx.grad!.read(), product([m, n], [n, k], g, w, false, false), 2e-6, 'dx');
    expectClose(await tw.grad!.read(), product([m, n], [m, k], g, x, true, false), 2e-6, 'dW');
    expectClose(await tb.grad!.read(), db, 2e-6, 'db');
  });
});

describe('bindings that exceed the device', () => {
  const engine = useEngineAs({ maxBindingSize: 8192 });

  /** The product and its row sums, in several launches, of a stored as [m, k] or, transposed, as [k, m]. */
  const expectWithRowSums = async (m: number, k: number, n: number, transposed: boolean): Promise<void> => {
    const [a, b] = [uniform(m * k, 1), uniform(k * n, 2)];
    const problem: MatmulProblem = {
      ...{ m, n, k, rowSums: true },
      a: { ld: transposed ? m : k, transposed },
      b: { ld: n, transposed: false },
      y: { ld: n },
    };
    expect(matmul(problem, engine().profile).length).toBeGreaterThan(2);
    const [y, row_sums] = [engine().empty([m, n]), engine().empty([m])];
    const shape = transposed ? [k, m] : [m, k];
    engine().run('matmul', matmul, problem, {
      a: engine().tensor(a, shape),
      b: engine().tensor(b, [k, n]),
      y,
      row_sums,
    });
    const expected = matmulReference({ a: shape, b: [k, n], transposeA: transposed }, a, b);
    const sums = new Float64Array(m);
    a.forEach((value, i) => (sums[transposed ? i % m : Math.floor(i / k)] += value));
    expectClose(await y.read(), expected.values, 1e-6, 'y');
    expectClose(await row_sums.read(), sums, 1e-6, 'row sums');
  };

  it('are cut along the rows of a and y', async () => {
    const { m, k, n } = { m: 300, k: 12, n: 20 };
    const [a, b] = [uniform(m * k, 1), uniform(k * n, 2)];
    const [rowScale, residual] = [uniform(m, 3), uniform(m * n, 4)];
    const problem: MatmulProblem = {
      m,
      n,
      k,
      a: { ld: k, transposed: false },
      b: { ld: n, transposed: false },
      y: { ld: n },
      epilogue: { rowScale: true, residual: true },
    };
    expect(matmul(problem, engine().profile).length).toBeGreaterThan(2);
    const y = engine().empty([m, n]);
    engine().run('matmul', matmul, problem, {
      a: engine().tensor(a, [m, k]),
      b: engine().tensor(b, [k, n]),
      row_scale: engine().tensor(rowScale),
      residual: engine().tensor(residual, [m, n]),
      y,
    });
    const { values } = matmulReference({ a: [m, k], b: [k, n] }, a, b);
    const expected = values.map((value, i) => rowScale[Math.floor(i / n)] * value + residual[i]);
    expectClose(await y.read(), expected, 1e-6);
  });

  it('are cut along the rows of a and row sums', () => expectWithRowSums(300, 12, 20, false));

  it('are cut along k, and the parts added', () => expectWithRowSums(8, 700, 12, true));
});
