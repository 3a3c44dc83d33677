import type { PatchEmbedProblem } from './problem.ts';

type Numbers = ArrayLike<number>;

/** Patch embedding by the definition, and the gradients for the gradient dy of y, in float64. */
export function patchEmbedReference(problem: PatchEmbedProblem, x: Numbers, w: Numbers, bias: Numbers, dy: Numbers) {
  const { batch, channels, gridHeight, gridWidth, patch, width } = problem;
  const y = new Float64Array(dy.length);
  const [dx, dw, db] = [new Float64Array(x.length), new Float64Array(w.length), new Float64Array(width)];
  for (let p = 0; p < batch * gridHeight * gridWidth; p++) {
    const [gx, gy] = [p % gridWidth, Math.floor(p / gridWidth) % gridHeight];
    const image = Math.floor(p / gridWidth / gridHeight);
    for (let d = 0; d < width; d++) {
      const at = p * width + d;
      y[at] = bias[d];
      db[d] += dy[at];
      for (let c = 0; c < channels; c++) {
        for (let row = 0; row < patch; row++) {
          for (let column = 0; column < patch; column++) {
            const pixel =
              ((image * channels + c) * gridHeight * patch + gy * patch + row) * gridWidth * patch +
              gx * patch +
              column;
            const weight = ((d * channels + c) * patch + row) * patch + column;
            y[at] += x[pixel] * w[weight];
            dx[pixel] += dy[at] * w[weight];
            dw[weight] += dy[at] * x[pixel];
          }
        }
      }
    }
  }
  return { y, dx, dw, db };
}
