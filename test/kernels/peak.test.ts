import { expect, it, vi } from 'vitest';
import { createEngine, measurePeak } from '../../engine/node.ts';
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

it('what is measured is work by time, here by a clock that moves on by a tenth of a second at each look', async () => {
  // Memory for little, so that the copies are small.
  const own = await createEngine({ memoryBudget: 2 ** 21 });
  const run = vi.spyOn(own, 'run');
  let looks = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => 100 * looks++);
  const { flops, bytes } = await measurePeak(own);
  clock.mockRestore();
  own.close();
  const [numbers, copied] = [arithmeticPeak, bandwidthPeak].map((kernel) => {
    const [, , problem, tensors] = run.mock.calls.findLast(([, launched]) => launched === kernel)!;
    return { rounds: (problem as { rounds?: number }).rounds, size: tensors.y.size };
  });
  // A multiply-add is two operations, and every number of the result is the end of eight chains.
  expect(flops).toBe((numbers.size * 8 * 2 * numbers.rounds!) / 0.1);
  // A copy reads and writes four bytes an element.
  expect(bytes).toBe((copied.size * 2 * 4) / 0.1);
  expect(copied.size).toBeGreaterThan(2 ** 14);
});
