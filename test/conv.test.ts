import { describe, expect, it } from 'vitest';
import { conv2d } from '../engine/ops/conv.ts';
import { convPartialSize } from '../kernels/conv-weight.ts';
import { CONV_CASES } from './cases/conv.ts';
import type { ConvCase } from './cases/conv.ts';
import { product } from './support/arrays.ts';
import { expectClose, uniform } from './support/close.ts';
import { differentiate } from './support/differentiate.ts';
import { PROFILES, useEngineAs } from './support/profile.ts';

// Sums of at most a few thousand f32 products, in pieces: each rounding is 6e-8, and they add up like their root.
const TOLERANCE = 2e-6;

/** Calls `each` with the places of x, weight and y of every product of a convolution. */
function forProducts(c: ConvCase, size: Size, each: (x: number, w: number, y: number) => void): void {
  const [, channels, height, width] = c.x;
  const [filters, depth, kernelHeight, kernelWidth] = c.weight;
  const { stride = 1, padding = 0, groups = 1 } = c;
  for (let b = 0; b < c.x[0]; b++)
    for (let o = 0; o < filters; o++)
      for (let k = 0; k < depth; k++)
        for (let p = 0; p < size.height; p++)
          for (let q = 0; q < size.width; q++)
            for (let i = 0; i < kernelHeight; i++)
              for (let j = 0; j < kernelWidth; j++) {
                const [h, w] = [p * stride - padding + i, q * stride - padding + j];
                if (h < 0 || h >= height || w < 0 || w >= width) continue;
                const channel = Math.floor(o / (filters / groups)) * depth + k;
                each(
                  ((b * channels + channel) * height + h) * width + w,
                  ((o * depth + k) * kernelHeight + i) * kernelWidth + j,
                  ((b * filters + o) * size.height + p) * size.width + q,
                );
              }
}

interface Size {
  readonly height: number;
  readonly width: number;
}

const outputSize = ({ x, weight, stride = 1, padding = 0 }: ConvCase): Size => ({
  height: Math.floor((x[2] + 2 * padding - weight[2]) / stride) + 1,
  width: Math.floor((x[3] + 2 * padding - weight[3]) / stride) + 1,
});

function reference(c: ConvCase, x: Float32Array, weight: Float32Array, bias: Float32Array | null, dy: Float32Array) {
  const size = outputSize(c);
  const plane = size.height * size.width;
  const filters = c.weight[0];
  const y = Float64Array.from(dy, (_, i) => bias?.[Math.floor(i / plane) % filters] ?? 0);
  const [dx, dw, db] = [new Float64Array(x.length), new Float64Array(weight.length), new Float64Array(filters)];
  forProducts(c, size, (i, j, k) => {
    y[k] += x[i] * weight[j];
    dx[i] += dy[k] * weight[j];
    dw[j] += dy[k] * x[i];
  });
  dy.forEach((value, i) => (db[Math.floor(i / plane) % filters] += value));
  return { y, dx, dw, db };
}

describe.each(PROFILES)('conv2d on $name', ({ name, claims }) => {
  const engine = useEngineAs(claims);
  // The variants do not depend on the profile: the loads do, so that ordinary cases are enough elsewhere.
  const cases = name === 'this device' ? CONV_CASES : CONV_CASES.filter((_, i) => i % 3 === 1);

  it.each(cases)('$name', async (c) => {
    const operands = [
      { shape: c.x, data: uniform(product(c.x), 1) },
      { shape: c.weight, data: uniform(product(c.weight), 2) },
      ...(c.bias ? [{ shape: [c.weight[0]], data: uniform(c.weight[0], 3) }] : []),
    ];
    const found = await differentiate(engine(), operands, (x, w, b) => conv2d(x, w, c.bias ? b : null, c));
    const [x, weight, bias] = operands.map(({ data }) => data);
    const expected = reference(c, x, weight, bias ?? null, found.dy);
    const { height, width } = outputSize(c);
    expect(found.shape).toEqual([c.x[0], c.weight[0], height, width]);
    expectClose(found.y, expected.y, TOLERANCE, 'y');
    expectClose(found.gradients[0], expected.dx, TOLERANCE, 'dx');
    expectClose(found.gradients[1], expected.dw, TOLERANCE, 'dw');
    if (c.bias) expectClose(found.gradients[2], expected.db, TOLERANCE, 'db');
  });
});

describe('conv2d', () => {
  const engine = useEngineAs({});
  const ones = (shape: number[]) => engine().full(shape, 1);

  it('gives the same weight gradient twice, to the bit', async () => {
    const c = CONV_CASES.at(-1)!;
    const operands = [
      { shape: c.x, data: uniform(product(c.x), 1) },
      { shape: c.weight, data: uniform(product(c.weight), 2) },
    ];
    const run = () => differentiate(engine(), operands, (x, w) => conv2d(x, w, null, c));
    const [first, second] = [await run(), await run()];
    expect(second.gradients[1]).toEqual(first.gradients[1]);
  });

  it('cuts the sum of the weight gradient where there is too little else to share out', () => {
    const [batch, channels, height, width] = [64, 8, 16, 16];
    const kernel = { kernelHeight: 1, kernelWidth: 1, stride: 1, padding: 0, groups: 1 };
    const problem = { batch, channels, height, width, filters: 8, ...kernel };
    expect(convPartialSize(problem, { ...engine().profile, cpu: false })).toBeGreaterThanOrEqual(64 * 8 * 8);
  });

  it('writes gradients only where they are wanted', async () => {
    const x = ones([1, 2, 3, 3]);
    const weight = ones([4, 2, 3, 3]).requiresGrad_();
    conv2d(x, weight, null, { padding: 1 }).backward(ones([1, 4, 3, 3]));
    expect(x.grad).toBeNull();
    // Ones everywhere: the number of pixels that each tap meets.
    expect([...(await weight.grad!.read())].slice(0, 9)).toEqual([4, 6, 4, 6, 9, 6, 4, 6, 4]);
  });

  it('says what does not fit', () => {
    const x = ones([1, 4, 5, 5]);
    expect(() => conv2d(x, ones([6, 4, 3, 3]), null, { groups: 2 })).toThrow(/shape-mismatch[\s\S]*8 channels/);
    expect(() => conv2d(x, ones([3, 2, 3, 3]), null, { groups: 2 })).toThrow(/filters divisible by 2/);
    expect(() => conv2d(x, ones([3, 4, 7, 3]), null)).toThrow(/larger than the padded image/);
    expect(() => conv2d(x, ones([3, 4, 3, 3]), ones([4]))).toThrow(/shape of the bias/);
    expect(() => conv2d(x, ones([3, 4, 3, 3]), null, { stride: 0 })).toThrow(/bad-argument/);
    expect(() => conv2d(ones([4, 5, 5]), ones([3, 4, 3, 3]), null)).toThrow(/four dimensions/);
  });
});
