import type { SoftTargetsProblem } from './index.ts';

/** The targets [batch, classes] in float64: see index.ts. */
export function softTargetsReference(
  { batch, classes, smoothing }: SoftTargetsProblem,
  labels: ArrayLike<number>,
  lambda: number,
): Float64Array {
  const smoothed = (label: number, c: number): number => smoothing / classes + (c === label ? 1 - smoothing : 0);
  return Float64Array.from({ length: batch * classes }, (_, i) => {
    const [b, c] = [Math.floor(i / classes), i % classes];
    return lambda * smoothed(labels[b], c) + (1 - lambda) * smoothed(labels[batch - 1 - b], c);
  });
}
