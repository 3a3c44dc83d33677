/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { add } from '../../engine/ops/binary.ts';
import { layerNorm } from '../../engine/ops/layer-norm.ts';
import { layerNormBackward } from '../../kernels/layer-norm/index.ts';
import type { LayerNormBackwardProblem } from '../../kernels/layer-norm/index.ts';
import { deviceProfiles } from '../../kernels/lib/device-profiles.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import { layerNormReference } from '../../kernels/layer-norm/reference.ts';
import { ROW_CASES } from '../cases/rows.ts';
import type { RowCase } from '../cases/rows.ts';
import { expectClose, uniform } from '../support/close.ts';
import { HALF_UNIT, f16Tensor, f16Tests, numbers, rounded } from '../support/f16.ts';
import { leaf } from '../support/engine.ts';
import { expectCloseRows } from '../support/rows.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

// Sums of up to a few thousand f32 numbers, each a few roundings of 6e-8, that grow with the square root at most.
const TOLERANCE = 1e-6;

describe.each(PROFILES)('layerNorm on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);
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
      const expected = layerNormReference(
        { rows: c.data.length / width, width, eps },
        { x: c.data, dy, weight: w, bias: b },
      );
      const tolerance = TOLERANCE * c.loss;
      expectClose(await y.read(), expected.y, tolerance, c.name);
      // Rows of equal or single elements: rstd is 1 / sqrt(eps), and what it multiplies cancels.
      await expectCloseRows(x.grad!, expected.dx, tolerance, `${c.name}, dx`, 1 / Math.sqrt(eps));
      expectClose(await weight.grad!.read(), expected.dweight, 2 * tolerance, `${c.name}, dweight`);
      expectClose(await bias.grad!.read(), expected.dbias, tolerance, `${c.name}, dbias`);
    }
  });
});

describe.each(PROFILES)('the kernel of its gradients on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);
  const withF16 = f16Tests(engine);

  /** Runs it with all that it can do on random numbers, which also are the statistics. */
  async function run(rows: number, width: number, copy: 'f16' | 'f32') {
    const gpu = engine();
    const [x, dy, weight] = [uniform(rows * width, 1), uniform(rows * width, 2), uniform(width, 3)];
    const [pending, rowScale] = [uniform(rows * width, 4), uniform(rows, 5)];
    const { stats } = layerNormReference({ rows, width, eps: 1e-6 }, { x, dy, weight, bias: null });
    const results = {
      dx: gpu.empty([rows, width]),
      copy: gpu.empty([rows, width], copy),
      dweight: gpu.empty([width]),
      dbias: gpu.empty([width]),
    };
    const f16 = copy === 'f16';
    gpu.run(
      'layerNorm',
      layerNormBackward,
      { rows, width, weight: true, pending: true, dx: true, affine: true, f16, copy, rowScale: true },
      {
        x: gpu.tensor(x, [rows, width]),
        dy: f16 ? f16Tensor(gpu, dy, [rows, width]) : gpu.tensor(dy, [rows, width]),
        stats: gpu.tensor(Float32Array.from(stats)),
        weight: gpu.tensor(weight),
        pending: gpu.tensor(pending),
        row_scale: gpu.tensor(rowScale),
        ...results,
      },
    );
    const found = {
      dx: await numbers(results.dx),
      copy: await numbers(results.copy),
      dweight: await numbers(results.dweight),
      dbias: await numbers(results.dbias),
    };
    const given = f16 ? rounded(dy) : dy;
    const expected = layerNormReference({ rows, width, eps: 1e-6 }, { x, dy: given, weight, bias: null });
    const dx = expected.dx.map((value, i) => value + pending[i]);
    const scaled = dx.map((value, i) => value * rowScale[Math.floor(i / width)]);
    return { found, expected: { ...expected, dx, copy: scaled } };
  }

  // Rows of one workgroup and of several, widths of one load a lane, of several, of no whole vectors, and of too many loads.
  const sizes = [
    [7, 12],
    [37, 192],
    [2051, 20],
    [20, 67],
    [9, 2052],
  ] as const;
  const fits = ([, width]: readonly [number, number]) => 4 * 64 * width <= (claims.maxBindingSize ?? Infinity);

  it('adds what is pending, scales rows of the copy, and sums columns', async () => {
    for (const [rows, width] of sizes.filter(fits)) {
      const { found, expected } = await run(rows, width, 'f32');
      expectClose(found.dx, expected.dx, TOLERANCE, `dx, ${rows} x ${width}`);
      expectClose(found.copy, expected.copy, TOLERANCE, `copy, ${rows} x ${width}`);
      expectClose(found.dweight, expected.dweight, 2 * TOLERANCE, `dweight, ${rows} x ${width}`);
      expectClose(found.dbias, expected.dbias, TOLERANCE, `dbias, ${rows} x ${width}`);
      const again = await run(rows, width, 'f32');
      for (const name of ['dx', 'copy', 'dweight', 'dbias'] as const) {
        const isSame = Buffer.from(again.found[name].buffer).equals(Buffer.from(found[name].buffer));
        expect(isSame, `${name}, ${rows} x ${width}, again`).toBe(true);
      }
    }
  });

  withF16('and writes the copy in f16', async () => {
    for (const [rows, width] of sizes.slice(1, 3)) {
      const { found, expected } = await run(rows, width, 'f16');
      expectClose(found.dx, expected.dx, TOLERANCE, `dx, ${rows} x ${width}`);
      expectClose(found.copy, expected.copy, HALF_UNIT, `copy, ${rows} x ${width}`);
      expectClose(found.dweight, expected.dweight, 2 * TOLERANCE, `dweight, ${rows} x ${width}`);
    }
  });
});

describe('the launches of its gradients', () => {
  const problem = { rows: 50_000, width: 768, weight: true, pending: true, dx: true, affine: true };
  const launchesOf = (device: Partial<DeviceProfile>, more: Partial<LayerNormBackwardProblem> = {}) =>
    layerNormBackward({ ...problem, ...more }, { ...deviceProfiles.nvidia, ...device });
  const namesOf = (...given: Parameters<typeof launchesOf>) => launchesOf(...given).map(({ name }) => name);

  it('sum columns on the way, where registers and bindings suffice', () => {
    const together = ['layer_norm.backward_add_columns/subgroup4_cached', 'layer_norm.columns/blocks_workgroup'];
    expect(namesOf({})).toEqual(together);
    const [{ grid, workspace }] = launchesOf({});
    // As many workgroups as a large GPU can hold.
    expect(grid).toEqual([2000, 1, 1]);
    expect(workspace.partials.elements).toBe(2000 * 2 * 768);
    const apart = [
      'layer_norm.backward_add/subgroup4',
      'layer_norm.columns/rows4',
      'layer_norm.columns/blocks_workgroup',
    ];
    expect(namesOf({}, { width: 1024 })).toEqual(together);
    expect(namesOf({}, { width: 1028 })).toEqual(apart);
    // With few bindings: x, dy, stats, dx, weight, pending, the sums, and in f16 a copy with its scales.
    const all = { copy: 'f32', rowScale: true } as const;
    expect(namesOf({ maxStorageBuffers: 8 })).toEqual(together);
    expect(namesOf({ maxStorageBuffers: 9 }, all)).toEqual(together);
    expect(namesOf({ maxStorageBuffers: 8 }, all)).toEqual(apart);
  });
});

describe('layerNorm', () => {
  const engine = useEngineAs({});
  const c = ROW_CASES.find(({ name }) => name === 'ragged, longer than a subgroup')!;
  const width = c.shape.at(-1)!;
  const rows = c.data.length / width;
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
      const expected = layerNormReference(
        { rows, width, eps: 1e-5 },
        { x: c.data, dy, weight: hasWeight ? w : null, bias: hasBias ? w : null },
      );
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
    const problem = { rows, width, eps: 1e-6 };
    const first = layerNormReference(problem, { x: c.data, dy, weight: null, bias: null });
    const second = layerNormReference(problem, { x: first.y, dy, weight: w, bias: null });
    const dh = second.dx.map((value, i) => value + dy[i]);
    const expected = layerNormReference(problem, { x: c.data, dy: dh, weight: null, bias: null });
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
