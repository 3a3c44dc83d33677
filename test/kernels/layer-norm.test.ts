import { describe, expect, it } from 'vitest';
import { add } from '../../engine/ops/binary.ts';
import { layerNorm } from '../../engine/ops/layer-norm.ts';
import { logSoftmax, softmax } from '../../engine/ops/softmax.ts';
import type { Engine, Tensor } from '../../engine/node.ts';
import { planRows } from '../../kernels/lib/rows.ts';
import { ROW_CASES, STRIDED_CASES } from '../cases/rows.ts';
import type { RowCase } from '../cases/rows.ts';
import { expectClose, uniform } from '../support/close.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

// Sums of up to a few thousand f32 numbers, each a few roundings of 6e-8, that grow with the square root at most.
const TOLERANCE = 1e-6;

/** Calls `each` with the indices of every row of the case. */
function forRows({ shape, dim }: RowCase, each: (row: number[]) => void): void {
  const axis = dim < 0 ? dim + shape.length : dim;
  const width = shape[axis];
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  for (let o = 0; o < outer; o++) {
    for (let j = 0; j < inner; j++) each(Array.from({ length: width }, (_, c) => (o * width + c) * inner + j));
  }
}
const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);

/** Softmax or its logarithm in float64, and the gradient for upstream `dy`. */
function softmaxReference(c: RowCase, dy: ArrayLike<number>, log: boolean): { y: Float64Array; dx: Float64Array } {
  const y = new Float64Array(c.data.length);
  const dx = new Float64Array(c.data.length);
  forRows(c, (row) => {
    const m = Math.max(...row.map((i) => c.data[i]));
    const s = sum(row.map((i) => Math.exp(c.data[i] - m)));
    const p = row.map((i) => Math.exp(c.data[i] - m) / s);
    const upstream = sum(row.map((i, k) => (log ? dy[i] : dy[i] * p[k])));
    row.forEach((i, k) => {
      y[i] = log ? c.data[i] - m - Math.log(s) : p[k];
      dx[i] = log ? dy[i] - p[k] * upstream : p[k] * (dy[i] - upstream);
    });
  });
  return { y, dx };
}

interface LayerNormReference {
  y: Float64Array;
  dx: Float64Array;
  dweight: Float64Array;
  dbias: Float64Array;
}

function layerNormReference(
  c: RowCase,
  x: ArrayLike<number>,
  dy: ArrayLike<number>,
  weight: ArrayLike<number> | null,
  bias: ArrayLike<number> | null,
  eps: number,
): LayerNormReference {
  const width = c.shape.at(-1)!;
  const result = {
    y: new Float64Array(x.length),
    dx: new Float64Array(x.length),
    dweight: new Float64Array(width),
    dbias: new Float64Array(width),
  };
  forRows(c, (row) => {
    const mean = sum(row.map((i) => x[i])) / width;
    const rstd = 1 / Math.sqrt(sum(row.map((i) => (x[i] - mean) ** 2)) / width + eps);
    const h = row.map((i) => (x[i] - mean) * rstd);
    const g = row.map((i, k) => dy[i] * (weight ? weight[k] : 1));
    const gMean = sum(g) / width;
    const ghMean = sum(g.map((value, k) => value * h[k])) / width;
    row.forEach((i, k) => {
      result.y[i] = h[k] * (weight ? weight[k] : 1) + (bias ? bias[k] : 0);
      result.dx[i] = rstd * (g[k] - gMean - h[k] * ghMean);
      result.dweight[k] += dy[i] * h[k];
      result.dbias[k] += dy[i];
    });
  });
  return result;
}

const leaf = (gpu: Engine, data: ArrayLike<number>, shape: readonly number[]): Tensor =>
  gpu.tensor(data, shape).requiresGrad_();

/** Absolute where the expectation is about zero: a rounding of the terms that cancelled. */
async function check(found: Tensor, expected: Float64Array, tolerance: number, what: string, terms = 1): Promise<void> {
  const values = await found.read();
  const norm = Math.hypot(...expected.subarray(0, 50_000));
  if (norm > 1e-4 * terms * Math.sqrt(expected.length)) expectClose(values, expected, tolerance, what);
  else values.forEach((value, i) => expect(Math.abs(value - expected[i]), what).toBeLessThan(tolerance * terms));
}

describe.each(PROFILES)('rows on $name', ({ claims }) => {
  const engine = useEngineAs(claims);
  // Chunks of a ragged width start at multiples of 64 rows.
  const fits = ({ shape }: RowCase) => shape.at(-1)! * 4 * 64 <= (claims.maxBindingSize ?? Infinity);
  const cases = ROW_CASES.filter(fits);

  for (const [name, op, log] of [
    ['softmax', softmax, false],
    ['logSoftmax', logSoftmax, true],
  ] as const) {
    it(`${name} and its gradient`, async () => {
      for (const c of [...cases, ...STRIDED_CASES]) {
        const x = leaf(engine(), c.data, c.shape);
        const dy = uniform(c.data.length, 7);
        const y = op(x, c.dim);
        y.backward(engine().tensor(dy, c.shape));
        const expected = softmaxReference(c, dy, log);
        expectClose(await y.read(), expected.y, TOLERANCE, c.name);
        // dy - sum(y dy) cancels where one element has nearly all the weight.
        await check(x.grad!, expected.dx, 2 * TOLERANCE, `${c.name}, dx`);
      }
    });
  }

  it('layerNorm and its gradients', async () => {
    for (const c of cases) {
      const width = c.shape.at(-1)!;
      const [w, b] = [uniform(width, 1).map((x) => x + 1), uniform(width, 2)];
      const [x, weight, bias] = [
        leaf(engine(), c.data, c.shape),
        leaf(engine(), w, [width]),
        leaf(engine(), b, [width]),
      ];
      const dy = uniform(c.data.length, 7);
      const eps = 1e-6;
      const y = layerNorm(x, weight, bias, eps);
      y.backward(engine().tensor(dy, c.shape));
      const expected = layerNormReference(c, c.data, dy, w, b, eps);
      const tolerance = TOLERANCE * c.loss;
      expectClose(await y.read(), expected.y, tolerance, c.name);
      // Rows of equal or single elements: rstd is 1 / sqrt(eps), and what it multiplies cancels.
      await check(x.grad!, expected.dx, tolerance, `${c.name}, dx`, 1 / Math.sqrt(eps));
      expectClose(await weight.grad!.read(), expected.dweight, 2 * tolerance, `${c.name}, dweight`);
      expectClose(await bias.grad!.read(), expected.dbias, tolerance, `${c.name}, dbias`);
    }
  });
});

describe('layerNorm', () => {
  const engine = useEngineAs({});
  const c = ROW_CASES.find(({ name }) => name === 'ragged, longer than a subgroup')!;
  const width = c.shape.at(-1)!;
  const dy = uniform(c.data.length, 7);
  const w = uniform(width, 1);

  it('goes without weight, without bias, without both', async () => {
    for (const [hasWeight, hasBias] of [
      [true, false],
      [false, true],
      [false, false],
    ]) {
      const x = leaf(engine(), c.data, c.shape);
      const weight = hasWeight ? leaf(engine(), w, [width]) : null;
      const bias = hasBias ? leaf(engine(), w, [width]) : null;
      const y = layerNorm(x, weight, bias, 1e-5);
      y.backward(engine().tensor(dy, c.shape));
      const expected = layerNormReference(c, c.data, dy, hasWeight ? w : null, hasBias ? w : null, 1e-5);
      expectClose(await y.read(), expected.y, TOLERANCE);
      expectClose(await x.grad!.read(), expected.dx, TOLERANCE);
      if (weight) expectClose(await weight.grad!.read(), expected.dweight, TOLERANCE);
      if (bias) expectClose(await bias.grad!.read(), expected.dbias, TOLERANCE);
    }
  });

  it('adds the gradient of a residual connection in its own backward pass', async () => {
    const gpu = engine();
    const [x, weight] = [leaf(gpu, c.data, c.shape), leaf(gpu, w, [width])];
    // h is no leaf and is used twice: by the norm, and beside it.
    const h = layerNorm(x, null, null);
    const total = add(h, layerNorm(h, weight, null));
    total.backward(gpu.tensor(dy, c.shape));
    const first = layerNormReference(c, c.data, dy, null, null, 1e-6);
    const second = layerNormReference(c, first.y, dy, w, null, 1e-6);
    const dh = second.dx.map((value, i) => value + dy[i]);
    const expected = layerNormReference(c, c.data, dh, null, null, 1e-6);
    expectClose(await x.grad!.read(), expected.dx, TOLERANCE);
    expectClose(await weight.grad!.read(), second.dweight, TOLERANCE);
  });

  it('writes the same gradients to the bit, twice', async () => {
    const runs: ArrayLike<number>[] = [];
    for (let run = 0; run < 2; run++) {
      const [x, weight] = [leaf(engine(), c.data, c.shape), leaf(engine(), w, [width])];
      layerNorm(x, weight, null).backward(engine().tensor(dy, c.shape));
      runs.push(await weight.grad!.read());
    }
    expect(runs[0]).toEqual(runs[1]);
  });

  it('softmax: a row of NaN, infinities or nothing but minus infinity is alone in that, whatever its width', async () => {
    for (const width of [12, 13, 61, 66, 197]) {
      const data = uniform(9 * width, 3);
      data.fill(-Infinity, 2 * width, 3 * width);
      data[4 * width] = NaN;
      data[7 * width - 1] = Infinity;
      data[8 * width] = -Infinity;
      const c = { name: `${width} wide`, shape: [9, width], dim: -1, data, loss: 1 };
      const expected = softmaxReference(c, data, false).y;
      // Written out as PyTorch has them: 0 / 0 and inf - inf.
      for (const row of [2, 4, 6]) expected.fill(NaN, row * width, (row + 1) * width);
      const y = await softmax(engine().tensor(data, c.shape)).read();
      for (let i = 0; i < y.length; i++) expect(Number.isNaN(y[i]), `${c.name}, ${i}`).toBe(Number.isNaN(expected[i]));
      const finite = (values: ArrayLike<number>) => Float64Array.from(values, (v) => (Number.isNaN(v) ? 0 : v));
      expectClose(finite(y), finite(expected), TOLERANCE, c.name);
      expect(y[8 * width]).toBe(0);
    }
  });

  it('names mistakes', () => {
    const x = engine().zeros([2, 5]);
    expect(() => layerNorm(x, engine().zeros([4]), null)).toThrow(/weight does not fit/);
    expect(() => layerNorm(engine().zeros([]), null, null)).toThrow(/no dimension to normalise/);
    expect(() => layerNorm(x, null, null, -1)).toThrow(/not negative/);
    expect(() => softmax(x, 2)).toThrow(/no such dimension/);
    expect(() => softmax(engine().tensor([1], [1], 'i32'))).toThrow(/takes f32/);
  });
});

describe('the plan for rows', () => {
  const gpu = { cpu: false, subgroupSize: 32 };
  const device = {
    maxWorkgroupsPerDimension: 65535,
    maxInvocationsPerWorkgroup: 256,
    maxWorkgroupStorage: 16384,
    maxBindingSize: 2 ** 27,
    maxStorageBuffers: 8,
    f16: false,
  };
  const shape = { outer: 10, width: 192, inner: 1 };

  it('follows the device and the layout', () => {
    expect(planRows(shape, { ...device, ...gpu })).toMatchObject({ variant: 'subgroup', lanes: 32, vector: 4 });
    expect(planRows(shape, { ...device, ...gpu, subgroupSize: 0 })).toMatchObject({ variant: 'workgroup', vector: 4 });
    expect(planRows(shape, { ...device, cpu: true, subgroupSize: 8 })).toMatchObject({
      variant: 'invocation',
      lanes: 1,
    });
    const ragged = { ...shape, width: 197 };
    expect(planRows(ragged, { ...device, cpu: true, subgroupSize: 8 }, true)).toMatchObject({
      variant: 'subgroup',
      held: 25,
    });
    expect(planRows(ragged, { ...device, cpu: true, subgroupSize: 8 }, 'ragged')).toMatchObject({
      variant: 'subgroup',
      vector: 4,
      held: 7,
    });
    expect(planRows(ragged, { ...device, cpu: true, subgroupSize: 0 }, true)).toMatchObject({
      variant: 'invocation',
      held: 0,
    });
    expect(planRows({ ...shape, inner: 4 }, { ...device, ...gpu })).toMatchObject({ variant: 'invocation', vector: 1 });
  });
});
