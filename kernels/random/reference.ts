import type { PhiloxStream } from '../lib/philox.ts';

/** n numbers of the stream, uniform from low to high. */
export const randomUniformReference = (n: number, low: number, high: number, stream: PhiloxStream): number[] =>
  Array.from({ length: n }, () => stream.uniform(low, high));

/** n numbers of the stream, normal with this mean and standard deviation. */
export const randomNormalReference = (n: number, mean: number, std: number, stream: PhiloxStream): number[] =>
  Array.from({ length: n }, () => stream.normal(mean, std));
