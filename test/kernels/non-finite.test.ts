import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../engine/node.ts';
import {
  countNonFinite,
  countPoison,
  skipNonFiniteStep,
  countNonFiniteLoss,
  spoil,
} from '../../kernels/non-finite/index.ts';
import { nonFiniteReference } from '../../kernels/non-finite/reference.ts';
import { uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { f16Tensor, f16Tests } from '../support/f16.ts';

const engine = useEngine();
const withF16 = f16Tests(engine);

/** Number, and index of the first, of place 1 of two. */
async function counted(kernel: typeof countNonFinite, x: Tensor, variant: string): Promise<[number, number | null]> {
  const found = engine().tensor(new Uint32Array(4), [4], 'u32');
  const f16 = x.dtype === 'f16';
  engine().run('test', kernel, { n: x.size, k: 1, f16: f16, variant }, { x, found });
  const [none, neither, count, first] = await found.read();
  expect([none, neither]).toEqual([0, 0]);
  return [count, first === 0 ? null : 0xffffffff - first];
}

describe.each(countNonFinite.variants)('NaN and infinity, variant %s', (variant) => {
  it('are counted, and the first of them is found', async () => {
    const x = uniform(1003, 1, 1e30);
    expect(await counted(countNonFinite, engine().tensor(x), variant)).toEqual([0, null]);
    x[1002] = NaN;
    x[517] = -Infinity;
    x[600] = Infinity;
    expect(await counted(countNonFinite, engine().tensor(x), variant)).toEqual(nonFiniteReference(x));
    expect(nonFiniteReference(x)).toEqual([3, 517]);
  });

  withF16('are counted in f16, in either half of a word', async () => {
    const x = uniform(35, 1, 60000);
    expect(await counted(countNonFinite, f16Tensor(engine(), x, [35]), variant)).toEqual([0, null]);
    x[34] = NaN;
    x[7] = Infinity;
    expect(await counted(countNonFinite, f16Tensor(engine(), x, [35]), variant)).toEqual(nonFiniteReference(x));
  });

  it('poison is NaN with all bits set, and no other', async () => {
    const x = new Float32Array(Uint32Array.of(0x7fc00000, 0xffffffff, 0x7fffffff, 0xffffffff, 0).buffer);
    expect(await counted(countPoison, engine().tensor(x), variant)).toEqual([2, 1]);
  });
});

describe('a step with a loss that is not finite', () => {
  it.each([
    [1.5, 0],
    [NaN, 1],
    [-Infinity, 1],
  ])('notes a loss of %d: %i', async (value, expected) => {
    const guard = engine().zeros([1]);
    engine().run('test', countNonFiniteLoss, {}, { loss: engine().tensor([value]), guard });
    expect(await guard.item()).toBe(expected);
  });

  it.each([
    [false, 0],
    [true, 5],
  ])('holds up the optimizer, for good: %s', async (permanent, kept) => {
    // Two gradient elements that were not finite, and three losses.
    const [norm, guard] = [engine().tensor([9, 2]), engine().tensor([3])];
    engine().run('test', skipNonFiniteStep, { permanent }, { norm, guard });
    expect(Array.from(await norm.read())).toEqual([9, 5]);
    expect(await guard.item()).toBe(kept);
  });

  it('is made by a drill in its step alone', async () => {
    const x = engine().tensor([1, 2, 3]);
    const at = (step: number) => ({ x, step: engine().tensor(Uint32Array.of(step), [1], 'u32') });
    engine().run('test', spoil, { index: 1, step: 7 }, at(6));
    expect(Array.from(await x.read())).toEqual([1, 2, 3]);
    engine().run('test', spoil, { index: 1, step: 7 }, at(7));
    expect(Array.from(await x.read())).toEqual([1, NaN, 3]);
  });
});
