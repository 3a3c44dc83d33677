import { describe, expect, it } from 'vitest';
import {
  add,
  autocast,
  batchNorm,
  checkpoint,
  findNonFinite,
  gelu,
  layerNorm,
  linear,
  linearAdd,
  matmul,
  mlp,
  mul,
  reshape,
  scaledDotProductAttention,
  softmax,
  sum,
  to,
} from '../../engine/node.ts';
import type { Tensor } from '../../engine/node.ts';
import { AdamW, GradScaler } from '../../nn/index.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { erf } from '../../kernels/lib/reference-math.ts';
import { HALF_UNIT, f16Tests, forProduct, numbers, rounded } from '../support/f16.ts';
import { useEngineAs } from '../support/device-profiles.ts';

const engine = useEngine();
const withoutF16 = useEngineAs({ f16: false });
const withF16 = f16Tests(engine);

const gradientOf = (x: Tensor): Promise<Float32Array> => x.read().then((content) => content as Float32Array);

/** x w^T + b and the gradients of <y, g>, in float64 on operands as they are given. */
function linearReference(x: Float32Array, w: Float32Array, b: Float32Array, g: Float32Array) {
  const [n] = [b.length];
  const k = w.length / n;
  const m = x.length / k;
  const y = Float64Array.from({ length: m * n }, (_, i) => {
    const [row, column] = [Math.floor(i / n), i % n];
    let total = b[column];
    for (let l = 0; l < k; l++) total += x[row * k + l] * w[column * k + l];
    return total;
  });
  const sums = (length: number, term: (i: number, j: number) => number, terms: number) =>
    Float64Array.from({ length }, (_, i) => {
      let total = 0;
      for (let j = 0; j < terms; j++) total += term(i, j);
      return total;
    });
  return {
    y,
    dx: sums(m * k, (i, j) => g[Math.floor(i / k) * n + j] * w[j * k + (i % k)], n),
    dw: sums(n * k, (i, j) => g[j * n + Math.floor(i / k)] * x[j * k + (i % k)], m),
    db: sums(n, (i, j) => g[j * n + i], m),
  };
}

/** The matrix that leaves every vector as it is. */
const identityOf = (n: number): Float32Array =>
  Float32Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0));

describe('autocast', () => {
  const [m, n, k] = [34, 20, 12];
  const [x, w, b, g] = [uniform(m * k, 1), uniform(n * k, 2), uniform(n, 3), uniform(m * n, 4)];
  const operands = () => {
    const gpu = engine();
    return {
      gpu,
      tx: gpu.tensor(x, [m, k]).requiresGrad_(),
      tw: gpu.tensor(w, [n, k]).requiresGrad_(),
      tb: gpu.tensor(b).requiresGrad_(),
    };
  };

  withF16('linear rounds operands, sums in f32, gives f16; gradients have the dtype of their tensors', async () => {
    const { gpu, tx, tw, tb } = operands();
    const y = autocast(gpu, () => linear(tx, tw, tb));
    expect(y.dtype).toBe('f16');
    const up = to(gpu.tensor(g, [m, n]), 'f16');
    y.backward(up);
    const expected = linearReference(rounded(x), rounded(w), b, rounded(g));
    expectClose(await numbers(y), expected.y, HALF_UNIT, 'y');
    // Sums of f16 products in f32, written as f32.
    expect([tx.grad!.dtype, tw.grad!.dtype, tb.grad!.dtype]).toEqual(['f32', 'f32', 'f32']);
    expectClose(await gradientOf(tx.grad!), expected.dx, 1e-6, 'dx');
    expectClose(await gradientOf(tw.grad!), expected.dw, 1e-6, 'dw');
    expectClose(await gradientOf(tb.grad!), expected.db, 1e-6, 'db');
    expect(() => y.backward(gpu.tensor(g, [m, n]))).toThrow(/dtype-mismatch/);
  });

  withF16('a scalar in f16 begins its gradient with 1 in f16', async () => {
    const x = engine().tensor([5]).requiresGrad_();
    const y = to(mul(x, 3), 'f16');
    y.backward();
    expect(x.grad!.dtype).toBe('f32');
    expect(Array.from(await gradientOf(x.grad!))).toEqual([3]);
  });

  withF16('a sum with an f32 residual is f32; its gradient is rounded for the products alone', async () => {
    const { gpu, tx, tw, tb } = operands();
    const r = uniform(m * n, 5);
    const residual = gpu.tensor(r, [m, n]).requiresGrad_();
    const y = autocast(gpu, () => linearAdd(tx, tw, tb, residual));
    expect(y.dtype).toBe('f32');
    y.backward(gpu.tensor(g, [m, n]));
    const expected = linearReference(rounded(x), rounded(w), b, rounded(g));
    expectClose(
      await numbers(y),
      expected.y.map((value, i) => value + r[i]),
      1e-6,
      'y',
    );
    expect(Array.from(await gradientOf(residual.grad!))).toEqual(Array.from(g));
    expectClose(await gradientOf(tx.grad!), expected.dx, 1e-6, 'dx');
    expectClose(await gradientOf(tw.grad!), expected.dw, 1e-6, 'dw');
  });

  withF16('GELU, MLP and matmul', async () => {
    const gelu64 = (v: number): number => 0.5 * v * (1 + erf(v / Math.SQRT2));
    const { gpu, tx, tw, tb } = operands();
    const w2 = uniform(8 * n, 6);
    const tw2 = gpu.tensor(w2, [8, n]).requiresGrad_();
    const { y, product, out } = autocast(gpu, () => ({
      y: mlp(tx, tw, tb, tw2, null),
      product: matmul(tx, tw, { transposeB: true }),
      out: mlp(tx, tw, tb, tw2, null, gpu.zeros([m, 8])),
    }));
    expect([y, product, out].map(({ dtype }) => dtype)).toEqual(['f16', 'f16', 'f32']);
    const pre = linearReference(rounded(x), rounded(w), b, g).y;
    const activated = pre.map(gelu64);
    const second = linearReference(rounded(activated), rounded(w2), new Float32Array(8), new Float32Array(8 * m)).y;
    // The hidden layer is rounded once more than in the reference where its value lies near the middle of two.
    expectClose(await numbers(y), second, 2 * HALF_UNIT, 'mlp');
    expectClose(await numbers(out), second, HALF_UNIT, 'mlp + 0');
    const plain = linearReference(rounded(x), rounded(w), new Float32Array(n), g).y;
    expectClose(await numbers(product), plain, HALF_UNIT, 'matmul');
    sum(to(mul(to(y, 'f32'), 2), 'f32')).backward();
    expect(tw2.grad!.dtype).toBe('f32');
    expect((await gradientOf(tw.grad!)).every(Number.isFinite)).toBe(true);
  });

  withF16('other operators are given f32, and have what they need of f16 converted in backward', async () => {
    const { gpu, tx, tw, tb } = operands();
    const y = autocast(gpu, () => gelu(softmax(linear(tx, tw, tb), -1)));
    expect(y.dtype).toBe('f32');
    sum(mul(y, y)).backward();
    expect(await findNonFinite(gpu, () => void mul(tw.grad!, 1))).toEqual([]);
    // Outside of a region an f16 tensor is what it was before.
    const half = to(tx.detach(), 'f16');
    expect(() => gelu(half)).toThrow(/dtype-mismatch/);
    expect(() => linear(half, tw, tb)).toThrow(/dtype-mismatch/);
    expect(autocast(gpu, () => autocast(gpu, () => linear(tx, tw, tb), { enabled: false })).dtype).toBe('f32');
  });

  withF16('layer norm gives its result in f16 to products, and takes its gradient so', async () => {
    for (const width of [12, 7]) {
      const gpu = engine();
      const [rows, up] = [9, rounded(uniform(9 * width, 4))];
      const values = [uniform(rows * width, 1), uniform(width, 2), uniform(width, 3)];
      const make = () => values.map((data, i) => gpu.tensor(data, i === 0 ? [rows, width] : [width]).requiresGrad_());
      const [full, half] = [make(), make()];
      const y = layerNorm(full[0], full[1], full[2]);
      const y16 = autocast(gpu, () => forProduct(layerNorm(half[0], half[1], half[2])));
      expect(y16.dtype).toBe('f16');
      expect(await numbers(y16)).toEqual(rounded(await numbers(y)));
      y.backward(gpu.tensor(up, [rows, width]));
      y16.backward(to(gpu.tensor(up, [rows, width]), 'f16'));
      for (const [i, tensor] of full.entries()) {
        expect(await gradientOf(half[i].grad!)).toEqual(await gradientOf(tensor.grad!));
      }
    }
  });

  withF16('the result of a norm has the type that its first use asks for', async () => {
    const { gpu, tx } = operands();
    const identity = gpu.tensor(identityOf(k), [k, k]);
    const exact = await numbers(layerNorm(tx, null, null));
    const uses: [string, 'f32' | 'f16', (y: Tensor) => unknown][] = [
      ['a product', 'f16', (y) => linear(y, identity, null)],
      ['a product, then a sum', 'f16', (y) => add(linear(y, identity, null), y)],
      ['a sum, then a product', 'f32', (y) => [mul(y, 2), linear(y, identity, null)]],
      ['both operands of one product', 'f16', (y) => matmul(y, y, { transposeB: true })],
      ['a product that adds it as the residual', 'f32', (y) => linearAdd(y, identity, null, y)],
      ['a view', 'f32', (y) => linear(reshape(reshape(y, [m * k]), [m, k]), identity, null)],
      ['a conversion', 'f32', (y) => linear(to(y, 'f32'), identity, null)],
      ['other work', 'f32', (y) => [gpu.full([1], 0), linear(y, identity, null)]],
      ['nothing', 'f32', () => 0],
    ];
    for (const [name, dtype, use] of uses) {
      const y = autocast(gpu, () => {
        const result = layerNorm(tx, null, null);
        use(result);
        return result;
      });
      expect(y.dtype, name).toBe(dtype);
      expect(await numbers(y), name).toEqual(dtype === 'f16' ? rounded(exact) : exact);
    }
    // Also where its operand is overwritten first, and where that is in a scope of its own.
    const source = gpu.tensor(x, [m, k]);
    const product = autocast(gpu, () => {
      const y = layerNorm(source, null, null);
      source.write(new Float32Array(m * k));
      return linear(y, identity, null);
    });
    expect(await numbers(product)).toEqual(rounded(exact));
    const kept = autocast(gpu, () => gpu.scope(() => layerNorm(tx, null, null).keep()));
    expect(await numbers(kept)).toEqual(exact);
    const lost = autocast(gpu, () => gpu.scope(() => layerNorm(tx, null, null)));
    expect(() => add(lost, 1)).toThrow(/tensor-expired/);
  });

  withF16('running statistics have moved when they are read, whatever becomes of the result', async () => {
    const { gpu, tx } = operands();
    const [ones, mean, variance] = [gpu.full([k], 1), gpu.zeros([k]), gpu.full([k], 1)];
    const read = autocast(gpu, () => {
      batchNorm(tx, ones, ones, mean, variance, { training: true, momentum: 1 });
      return mean.read();
    });
    const expected = Float32Array.from({ length: k }, (_, c) => {
      let total = 0;
      for (let row = 0; row < m; row++) total += x[row * k + c] / m;
      return total;
    });
    expectClose(await read, expected, 1e-6, 'the running mean');
  });

  withF16('the gradient of a weight is f32, though the weight was computed in f16', async () => {
    const { gpu, tx, tw } = operands();
    const y = autocast(gpu, () => linear(tx.detach(), matmul(tw, gpu.tensor(identityOf(k), [k, k])), null));
    y.backward(to(gpu.tensor(g, [m, n]), 'f16'));
    const expected = linearReference(rounded(x), rounded(w), new Float32Array(n), rounded(g));
    // The gradient of the f16 weight is rounded once on its way.
    expectClose(await gradientOf(tw.grad!), expected.dw, 2 * HALF_UNIT, 'dw');
  });

  withF16('layer norm rounds its gradient for the product before it, unless another gradient is added', async () => {
    for (const width of [n, 7]) {
      const { gpu, tx } = operands();
      const [weights, r] = [uniform(width * k, 2), uniform(m * width, 5)];
      const tw = gpu.tensor(weights, [width, k]).requiresGrad_();
      const backwards = async (branch: boolean) => {
        const residual = gpu.tensor(r, [m, width]).requiresGrad_();
        const loss = autocast(gpu, () => {
          const y = linearAdd(tx, tw, null, residual);
          // Backward comes to this branch after the norm, which is recorded later.
          const other = branch ? mul(y, 3) : null;
          const normed = forProduct(layerNorm(y, null, null));
          const weighted = sum(mul(normed, gpu.tensor(uniform(m * width, 6), [m, width])));
          return other ? add(weighted, sum(other)) : weighted;
        });
        tw.grad = null;
        const casts: string[] = [];
        gpu.observe(
          ({ op, kernel }) => void (kernel === 'cast/f32-f16' && casts.push(op)),
          () => loss.backward(),
        );
        // The residual's gradient is that of y, in f32.
        const dy = await gradientOf(residual.grad!);
        const expected = linearReference(rounded(x), rounded(weights), new Float32Array(width), rounded(dy));
        expectClose(await gradientOf(tw.grad!), expected.dw, 1e-6, `dw, width ${width}`);
        return { casts: casts.filter((op) => op.startsWith('linearAdd')), dy };
      };
      const [alone, both] = [await backwards(false), await backwards(true)];
      expect(alone.casts).toEqual([]);
      expect(both.casts).toEqual(['linearAdd.backward']);
      // One f32 addition, whose result can be four times as large.
      both.dy.forEach((value, i) => expect(Math.abs(value - alone.dy[i] - 3)).toBeLessThan(1e-6));
    }
  });

  withF16('attention takes f16 as it comes', async () => {
    const gpu = engine();
    const qkv = to(gpu.tensor(uniform(2 * 5 * 24, 7), [2, 5, 24]), 'f16').requiresGrad_();
    const y = scaledDotProductAttention(qkv, 2);
    expect(y.dtype).toBe('f16');
    y.backward(to(gpu.tensor(uniform(2 * 5 * 8, 8), [2, 5, 8]), 'f16'));
    expect(qkv.grad!.dtype).toBe('f16');
    // A gradient that comes twice is added up in f16.
    scaledDotProductAttention(qkv, 2).backward(to(gpu.tensor(uniform(2 * 5 * 8, 8), [2, 5, 8]), 'f16'));
    expect((await numbers(qkv.grad!)).some((value) => value !== 0)).toBe(true);
  });

  withF16('rounds the matrices of an optimizer in one dispatch a region, and others one by one', async () => {
    const gpu = engine();
    const tensors = [w, uniform(24 * 20, 9), uniform(7 * 24, 10)];
    const shapes = [
      [n, k],
      [24, n],
      [7, 24],
    ];
    const parameters = tensors.map((data, i) => gpu.tensor(data, shapes[i]).requiresGrad_());
    const bias = gpu.tensor(b).requiresGrad_();
    const named: [string, Tensor][] = [['bias', bias], ...parameters.map((p, i): [string, Tensor] => [`p${i}`, p])];
    const tx = gpu.tensor(x, [m, k]);
    const forward = () => parameters.reduce((h, p, i) => linear(h, p, i === 0 ? bias : null), tx);
    const castsOf = (work: () => void): number => {
      let casts = 0;
      gpu.observe(({ kernel }) => (casts += Number(/cast|f16_copy/.test(kernel))), work);
      return casts;
    };
    const before = await numbers(autocast(gpu, forward));
    expect(castsOf(() => autocast(gpu, forward))).toBe(1 + 3);
    const optimizer = new AdamW([{ parameters: named, weightDecay: 0 }], { scaler: new GradScaler(gpu) });
    expect(castsOf(() => autocast(gpu, forward))).toBe(1 + 1);
    expect(await numbers(autocast(gpu, forward))).toEqual(before);
    // Each region rounds anew.
    parameters[2].write(new Float32Array(7 * 24));
    expect((await numbers(autocast(gpu, forward))).every((value) => value === 0)).toBe(true);
    optimizer.free();
    expect(castsOf(() => autocast(gpu, forward))).toBe(1 + 3);
  });

  withF16('checkpoint() computes again in the region that it was first computed in', async () => {
    const gradients = async (again: boolean): Promise<Float32Array[]> => {
      const { gpu, tx, tw, tb } = operands();
      const compute = (input: Tensor) => to(linear(input, tw, tb), 'f32');
      const start = mul(tx, 2);
      const y = autocast(gpu, () => (again ? checkpoint(compute, start, [tw, tb]) : compute(start)));
      y.backward(gpu.tensor(g, [m, n]));
      return Promise.all([tx, tw, tb].map((tensor) => gradientOf(tensor.grad!)));
    };
    expect(await gradients(true)).toEqual(await gradients(false));
  });

  it('on a device without f16 is a named error', () => {
    expect(() => autocast(withoutF16(), () => 1)).toThrow(/feature-missing/);
  });
});

withF16('an optimizer that is freed gives back all that it kept, the tables of the f16 copies too', async () => {
  const kept = (): number => engine().memory().kept.optimizer ?? 0;
  const before = kept();
  const w = engine().tensor(uniform(64, 1), [8, 8]).keep().requiresGrad_();
  const scaler = new GradScaler(engine());
  const optimizer = new AdamW([{ parameters: [['w', w]], weightDecay: 0 }], { scaler });
  expect(kept()).toBeGreaterThan(before);
  optimizer.free();
  await engine().idle();
  expect(kept()).toBe(before);
});
