/** Draws on the host, for tests of kernels that draw the same. */
import type { Engine } from '../../engine/node.ts';
import type { PhiloxStream } from '../../kernels/lib/philox.ts';

export const words = (source: PhiloxStream, n: number): number[] => Array.from({ length: n }, () => source.word());
/** What f32 arithmetic makes of x / (1 - rate) by a factor. */
export const scaled = (x: number, rate: number): number => Math.fround(x * Math.fround(1 / (1 - rate)));

export async function atStep<Result>(on: Engine, step: number, work: () => Promise<Result>): Promise<Result> {
  on.setStep(step);
  try {
    return await work();
  } finally {
    on.setStep(0);
  }
}
