import { expect, it } from 'vitest';
import { arithmeticPeak, bandwidthPeak } from '../../kernels/peak/index.ts';
import { arithmeticPeakReference } from '../../kernels/peak/reference.ts';
import { uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

it.each([1, 7, 64])('arithmetic: %i rounds of x / 2 + 1, in eight chains', async (rounds) => {
  const y = engine().empty([2 * 64 * 4]);
  engine().run('test', arithmeticPeak, { workgroups: 2, rounds }, { y });
  // Up to 7 rounds every number is exact in f32; 64 halvings of a distance of at most 7 leave less than one rounding.
  expect(new Set(await y.read())).toEqual(new Set([Math.fround(arithmeticPeakReference(rounds))]));
  const [{ cost }] = arithmeticPeak({ workgroups: 2, rounds }, engine().profile);
  expect(cost.flops).toBe(2 * rounds * 8 * 4 * (2 * 64));
});

it('bandwidth copies every vector', async () => {
  const x = uniform(2 * 64 * 4 * 3, 1);
  const y = engine().zeros([x.length]);
  engine().run('test', bandwidthPeak, { workgroups: 2, vectors: 3 }, { x: engine().tensor(x), y });
  expect(await y.read()).toEqual(x);
  const [{ cost }] = bandwidthPeak({ workgroups: 2, vectors: 3 }, engine().profile);
  expect(cost.bytes).toBe(2 * 4 * x.length);
});
