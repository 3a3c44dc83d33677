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

it('what is measured is long enough that starting it no longer shows', async () => {
  const own = await createEngine({ memoryBudget: 2 ** 21 });
  // A device that makes a round in 10 microseconds by a clock that nothing else moves.
  let now = 0;
  const rounds: number[] = [];
  vi.spyOn(own, 'run').mockImplementation((_, kernel, problem) => {
    if (kernel !== arithmeticPeak) return (now += 1);
    rounds.push((problem as { rounds: number }).rounds);
    now += 0.01 * rounds.at(-1)!;
  });
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
  const { flops } = await measurePeak(own);
  clock.mockRestore();
  own.close();
  expect(rounds.slice(0, 2)).toEqual([1, 64]);
  // Three times 40 ms or more, by at most eight times as many rounds as the try before.
  expect(new Set(rounds.slice(-3)).size).toBe(1);
  expect(0.01 * rounds.at(-1)!).toBeGreaterThanOrEqual(40);
  for (let i = 2; i < rounds.length - 3; i++) expect(rounds[i] / rounds[i - 1]).toBeLessThanOrEqual(8);
  expect(flops).toBeCloseTo((2 * 8 * 4 * 64 * 256 * 1000) / 0.01, -6);
});
