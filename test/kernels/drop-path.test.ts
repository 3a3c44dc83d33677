import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { dropPathReference } from '../../kernels/drop-path/reference.ts';
import { matmulReference } from '../../kernels/matmul/reference.ts';
import { PhiloxStream, Purpose, uniform01 } from '../../kernels/lib/philox.ts';
import { expectClose, uniform } from '../support/close.ts';
import { atStep, scaled, words } from '../support/draws.ts';
import { differentiate } from '../support/differentiate.ts';
import { useEngine } from '../support/engine.ts';
import { f16Tests, numbers, rounded } from '../support/f16.ts';
import { useEngineAs } from '../support/device-profiles.ts';

const SEED = 0xdecade01;
const engine = useEngine({ seed: SEED });

describe.each([
  { name: 'whole bindings', claims: {} },
  { name: 'small bindings', claims: { maxBindingSize: 8192 } },
])('dropPath, $name', ({ claims }) => {
  const device = useEngineAs(claims);
  const own = (purpose: Purpose, step: number, number: number) => new PhiloxStream(0, purpose, step, number);
  const withF16 = f16Tests(device);

  it.each([
    { shape: [9], rate: 0.5 },
    { shape: [11, 3, 12], rate: 0.2 },
    { shape: [128, 5, 3], rate: 0.7 },
    { shape: [6, 20, 40], rate: 0.5 },
  ])('drops whole samples of $shape by the words that the host draws', async ({ shape, rate }) => {
    const n = shape.reduce((a, b) => a * b, 1);
    const [x, residual] = [uniform(n, 1), uniform(n, 2)];
    const u = words(own(Purpose.dropPath, 4, 7), shape[0]).map(uniform01);
    const alone = await atStep(device(), 4, () =>
      differentiate(device(), [{ shape, data: x }], (t) => ops.dropPath(t, rate, 7)),
    );
    const expected = dropPathReference(rate, u, x);
    // One multiplication by a factor that is rounded to f32.
    expectClose(alone.y, expected, 1.2e-7, 'y');
    const gradient = dropPathReference(rate, u, alone.dy);
    expectClose(alone.gradients[0], gradient, 1.2e-7, 'dx');
    const fused = await atStep(device(), 4, () =>
      differentiate(
        device(),
        [
          { shape, data: residual },
          { shape, data: x },
        ],
        (r, t) => ops.dropPathAdd(r, t, rate, 7),
      ),
    );
    expectClose(
      fused.y,
      expected.map((value, i) => value + residual[i]),
      1.2e-7,
    );
    expect(Array.from(fused.gradients[0])).toEqual(Array.from(fused.dy));
    expectClose(fused.gradients[1], gradient, 1.2e-7, 'dx of the sum');
  });

  it('drops what a product adds to a residual, in that product', async () => {
    const [samples, tokens, k, n, rate] = [23, 5, 12, 20, 0.4];
    const rows = samples * tokens;
    const data = [uniform(rows * k, 1), uniform(n * k, 2), uniform(n, 3), uniform(rows * n, 4)];
    const shapes = [[samples, tokens, k], [n, k], [n], [samples, tokens, n]];
    const [x, weight, bias, residual] = data;
    const found = await atStep(device(), 4, () =>
      differentiate(
        device(),
        data.map((own, i) => ({ shape: shapes[i], data: own })),
        (tx, tw, tb, r) => ops.linearAdd(tx, tw, tb, r, { rate, stream: 7 }),
      ),
    );
    const u = words(own(Purpose.dropPath, 4, 7), samples).map(uniform01);
    const product = (a: ArrayLike<number>, b: ArrayLike<number>, problem: Parameters<typeof matmulReference>[0]) =>
      matmulReference(problem, a, b).values;
    const branch = product(x, weight, { a: [rows, k], b: [n, k], transposeB: true }).map((v, i) => v + bias[i % n]);
    const dropped = dropPathReference(rate, u, branch);
    const dbranch = dropPathReference(rate, u, found.dy);
    const dbias = Float64Array.from({ length: n }, (_, c) =>
      dbranch.reduce((sum, value, i) => sum + (i % n === c ? value : 0), 0),
    );
    // Sums of at most 115 products in f32.
    expectClose(
      found.y,
      dropped.map((value, i) => value + residual[i]),
      1e-6,
      'y',
    );
    const [dx, dweight, db, dresidual] = found.gradients;
    expectClose(dx, product(dbranch, weight, { a: [rows, n], b: [n, k] }), 1e-6, 'dx');
    expectClose(dweight, product(dbranch, x, { a: [rows, n], b: [rows, k], transposeA: true }), 1e-6, 'dweight');
    expectClose(db, dbias, 1e-6, 'dbias');
    expect(Array.from(dresidual)).toEqual(Array.from(found.dy));
  });

  /** Gradients of a product with stochastic depth before a layer norm, and the operators that scaled rows for themselves. */
  async function beforeNorm(f16: boolean, isUsedTwice: boolean) {
    const [samples, tokens, k, n, rate] = [13, 3, 12, 20, 0.4];
    const [rows, gpu] = [samples * tokens, device()];
    const [x, weight] = [uniform(rows * k, 1), uniform(n * k, 2)];
    const leaf = (data: Float32Array, shape: number[]) => gpu.tensor(data, shape).requiresGrad_();
    const [tx, tw] = [leaf(x, [samples, tokens, k]), leaf(weight, [n, k])];
    const residual = leaf(uniform(rows * n, 3), [samples, tokens, n]);
    const passes: string[] = [];
    await atStep(gpu, 4, () => {
      const forward = () => {
        const y = ops.linearAdd(tx, tw, null, residual, { rate, stream: 7 });
        // Backward comes to this use after the norm, which is recorded later.
        const other = isUsedTwice ? ops.sum(ops.mul(y, 3)) : null;
        const normed = ops.layerNorm(y, null, null);
        const loss = ops.sum(ops.mul(normed, gpu.tensor(uniform(rows * n, 4), normed.shape)));
        return other ? ops.add(loss, other) : loss;
      };
      const loss = f16 ? ops.autocast(gpu, forward) : forward();
      gpu.observe(
        ({ op, kernel }) => void (/scale_channels|cast/.test(kernel) && passes.push(op)),
        () => loss.backward(),
      );
      return Promise.resolve();
    });
    const kept = words(own(Purpose.dropPath, 4, 7), samples).map((word) => uniform01(word) >= Math.fround(rate));
    // The residual's gradient is that of y, in f32.
    const dy = await numbers(residual.grad!);
    const dbranch = dy.map((value, i) => (kept[Math.floor(i / (tokens * n))] ? scaled(value, rate) : 0));
    const operand = (data: Float32Array) => (f16 ? rounded(data) : data);
    const gradient = { a: [rows, n], b: [rows, k], transposeA: true };
    const { values } = matmulReference(gradient, operand(dbranch), operand(x));
    // Sums of 39 products in f32.
    expectClose(await numbers(tw.grad!), values, 1e-6, 'dweight');
    return passes.filter((op) => op.startsWith('linearAdd'));
  }

  it('has its gradient from the layer norm behind it, unless another gradient is added', async () => {
    expect(await beforeNorm(false, false)).toEqual([]);
    expect(await beforeNorm(false, true)).toEqual(['linearAdd.backward']);
  });

  withF16('and has it in f16', async () => {
    expect(await beforeNorm(true, false)).toEqual([]);
    expect(await beforeNorm(true, true)).toEqual(['linearAdd.backward']);
  });

  withF16('adds an f16 branch to an f32 residual, and gives its gradient in f16', async () => {
    for (const shape of [
      [11, 3, 12],
      [16, 5, 3],
    ]) {
      const [n, rate] = [shape.reduce((a, b) => a * b, 1), 0.4];
      const [x, residual] = [rounded(uniform(n, 1)), uniform(n, 2)];
      const kept = words(own(Purpose.dropPath, 4, 7), shape[0]).map((word) => uniform01(word) >= Math.fround(rate));
      const sample = (i: number) => Math.floor((i * shape[0]) / n);
      const drop = (value: number, i: number) => (kept[sample(i)] ? scaled(value, rate) : 0);
      const operands = [residual, x].map((data) => ({ shape, data }));
      const found = await atStep(device(), 4, () =>
        differentiate(device(), operands, (r, t) =>
          ops.autocast(device(), () => ops.dropPathAdd(r, ops.to(t, 'f16'), rate, 7)),
        ),
      );
      // One f32 sum, which may be fused with the product before.
      expectClose(
        found.y,
        Array.from(x, (value, i) => drop(value, i) + residual[i]),
        1e-7,
      );
      expect(Array.from(found.gradients[0])).toEqual(Array.from(found.dy));
      expect(Array.from(found.gradients[1])).toEqual(Array.from(rounded(Array.from(found.dy, drop))));
    }
  });
});

describe('dropPath without effect', () => {
  it('is x itself, and with a residual the sum', async () => {
    const x = engine().tensor([1, 2, 3, 4], [2, 2]);
    expect(ops.dropPath(x, 0, 1)).toBe(x);
    expect(ops.dropPath(x, 0.5, 1, false)).toBe(x);
    expect(Array.from(await ops.dropPathAdd(x, x, 0.5, 1, false).read())).toEqual([2, 4, 6, 8]);
    expect(Array.from(await ops.dropPathAdd(x, x, 1, 1).read())).toEqual([1, 2, 3, 4]);
  });

  it('of a product beside a residual is the sum at rate 0, and the residual at rate 1', async () => {
    const [x, identity] = [engine().tensor([1, 2, 3, 4], [2, 2]), engine().tensor([1, 0, 0, 1], [2, 2])];
    const added = (rate: number) => ops.linearAdd(x, identity, null, x, { rate, stream: 1 }).read();
    expect(Array.from(await added(0))).toEqual([2, 4, 6, 8]);
    expect(Array.from(await added(1))).toEqual([1, 2, 3, 4]);
  });

  it('names mistakes', () => {
    const [x, w] = [engine().zeros([2, 3]), engine().zeros([3, 3])];
    const drop = { rate: 0.5, stream: 1 };
    expect(() => ops.linearAdd(x, w, null, x, { ...drop, rate: 1.5 })).toThrow(/from 0 to 1/);
    expect(() => ops.mlp(x, w, null, w, null, null, drop)).toThrow(/beside a residual/);
    expect(() => ops.linearAdd(engine().zeros([3]), w, null, engine().zeros([3]), drop)).toThrow(/samples/);
  });
});
