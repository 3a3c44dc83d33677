import { eachWindow } from '../lib/reference-math.ts';
import type { WindowProblem } from '../lib/window.ts';

/** The place of the largest pixel of each window in its image, and the gradient of x for the gradient dy of those pixels. */
export function maxPool2dReference(problem: WindowProblem, x: ArrayLike<number>, dy: ArrayLike<number>) {
  const { planes, height, width, windows } = problem;
  const index = new Array<number>(planes * windows[0] * windows[1]);
  const dx = new Float64Array(planes * height * width);
  eachWindow(problem, (window, pixels) => {
    // NaN is larger than everything; of equal pixels the first is taken.
    let best = pixels[0];
    for (const pixel of pixels) if (!Number.isNaN(x[best]) && !(x[pixel] <= x[best])) best = pixel;
    index[window] = best % (height * width);
    dx[best] += dy[window];
  });
  return { index, dx };
}
