import { expect, it } from 'vitest';
import { arithmeticPeak, bandwidthPeak } from '../../kernels/peak/index.ts';
import { uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

it('arithmetic comes to rest at the fixed point of x / 2 + 1, in eight chains', async () => {
  const y = engine().empty([2 * 64 * 4]);
  // 64 halvings of a distance of at most 7 leave less than one rounding.
  engine().run('test', arithmeticPeak, { workgroups: 2, rounds: 64 }, { y });
  expect(new Set(await y.read())).toEqual(new Set([16]));
  const [{ cost }] = arithmeticPeak({ workgroups: 2, rounds: 64 }, engine().profile);
  expect(cost.flops).toBe(2 * 64 * 8 * 4 * (2 * 64));
});

it('bandwidth copies every vector', async () => {
  const x = uniform(2 * 64 * 4 * 3, 1);
  const y = engine().zeros([x.length]);
  engine().run('test', bandwidthPeak, { workgroups: 2, vectors: 3 }, { x: engine().tensor(x), y });
  expect(await y.read()).toEqual(x);
  const [{ cost }] = bandwidthPeak({ workgroups: 2, vectors: 3 }, engine().profile);
  expect(cost.bytes).toBe(2 * 4 * x.length);
});
