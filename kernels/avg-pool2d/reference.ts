import { eachWindow, sum } from '../lib/reference-math.ts';
import type { AvgPool2dProblem } from './index.ts';

/** The mean of each window in float64, and the gradient of x for the gradient dy of the means. */
export function avgPool2dReference(problem: AvgPool2dProblem, x: ArrayLike<number>, dy: ArrayLike<number>) {
  const { planes, height, width, windows, countIncludePad } = problem;
  const y = new Float64Array(planes * windows[0] * windows[1]);
  const dx = new Float64Array(planes * height * width);
  eachWindow(problem, (window, pixels, padded) => {
    const count = countIncludePad ? padded : pixels.length;
    y[window] = sum(pixels.map((pixel) => x[pixel])) / count;
    for (const pixel of pixels) dx[pixel] += dy[window] / count;
  });
  return { y, dx };
}
