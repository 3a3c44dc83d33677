import type { InterpolateProblem, InterpolationMode } from './index.ts';

/** The pixels that serve a point, and their weights. */
function tapsOf(mode: InterpolationMode, place: number): [pixel: number, weight: number][] {
  const first = Math.floor(place);
  const t = place - first;
  if (mode === 'nearest') return [[first, 1]];
  if (mode === 'bilinear') {
    return [
      [first, 1 - t],
      [first + 1, t],
    ];
  }
  // Keys's kernel with a = -0.75.
  const near = (d: number): number => 1.25 * d ** 3 - 2.25 * d ** 2 + 1;
  const far = (d: number): number => -0.75 * d ** 3 + 3.75 * d ** 2 - 6 * d + 3;
  return [
    [first - 1, far(1 + t)],
    [first, near(t)],
    [first + 1, near(1 - t)],
    [first + 2, far(2 - t)],
  ];
}

/** One direction of images at another size in float64, and the gradient of x for the gradient dy of the result. */
export function interpolateReference(
  { outer, length, size, inner, mode, alignCorners }: InterpolateProblem,
  x: ArrayLike<number>,
  dy: ArrayLike<number>,
) {
  const scale = alignCorners ? (size > 1 ? (length - 1) / (size - 1) : 0) : length / size;
  const y = new Float64Array(outer * size * inner);
  const dx = new Float64Array(outer * length * inner);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < size; i++) {
      const centre = alignCorners || mode === 'nearest' ? i * scale : (i + 0.5) * scale - 0.5;
      for (const [pixel, weight] of tapsOf(mode, mode === 'bilinear' ? Math.max(centre, 0) : centre)) {
        const j = Math.min(Math.max(pixel, 0), length - 1);
        for (let n = 0; n < inner; n++) {
          y[(o * size + i) * inner + n] += weight * x[(o * length + j) * inner + n];
          dx[(o * length + j) * inner + n] += weight * dy[(o * size + i) * inner + n];
        }
      }
    }
  }
  return { y, dx };
}
