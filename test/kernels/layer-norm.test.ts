import { describe, expect, it } from 'vitest';
import { add } from '../../engine/ops/binary.ts';
import { layerNorm } from '../../engine/ops/layer-norm.ts';
import { ROW_CASES } from '../cases/rows.ts';
import type { RowCase } from '../cases/rows.ts';
import { expectClose, uniform } from '../support/close.ts';
import { leaf } from '../support/engine.ts';
import { expectCloseRows, forRows, sum } from '../support/rows.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

// Sums of up to a few thousand f32 numbers, each a few roundings of 6e-8, that grow with the square root at most.
const TOLERANCE = 1e-6;

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

describe.each(PROFILES)('layerNorm on $name', ({ claims }) => {
  const engine = useEngineAs(claims);
  // Chunks of a ragged width start at multiples of 64 rows.
  const fits = ({ shape }: RowCase) => shape.at(-1)! * 4 * 64 <= (claims.maxBindingSize ?? Infinity);
  const cases = ROW_CASES.filter(fits);

  it('gives values and gradients', async () => {
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
      await expectCloseRows(x.grad!, expected.dx, tolerance, `${c.name}, dx`, 1 / Math.sqrt(eps));
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

  it('names mistakes', () => {
    const x = engine().zeros([2, 5]);
    expect(() => layerNorm(x, engine().zeros([4]), null)).toThrow(/weight does not fit/);
    expect(() => layerNorm(engine().zeros([]), null, null)).toThrow(/no dimension to normalise/);
    expect(() => layerNorm(x, null, null, -1)).toThrow(/not negative/);
  });
});
