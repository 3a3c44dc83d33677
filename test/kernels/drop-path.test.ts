import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { dropPathReference } from '../../kernels/drop-path/reference.ts';
import { PhiloxStream, Purpose, uniform01 } from '../../kernels/lib/philox.ts';
import { expectClose, uniform } from '../support/close.ts';
import { atStep, scaled, words } from '../support/draws.ts';
import { differentiate } from '../support/differentiate.ts';
import { useEngine } from '../support/engine.ts';
import { f16Tests, rounded } from '../support/f16.ts';
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
});
