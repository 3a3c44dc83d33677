import { eachRow, sum } from '../lib/reference-math.ts';

type Numbers = ArrayLike<number>;

/** Layer norm in float64, with mean and rstd of each row, and the gradients for the gradient dy of y. Without weight or bias these are null. */
export function layerNormReference(
  { rows, width, eps }: { rows: number; width: number; eps: number },
  { x, dy, weight, bias }: { x: Numbers; dy: Numbers; weight: Numbers | null; bias: Numbers | null },
) {
  const y = new Float64Array(x.length);
  const dx = new Float64Array(x.length);
  const dweight = new Float64Array(width);
  const dbias = new Float64Array(width);
  const stats: number[] = [];
  eachRow({ outer: rows, width, inner: 1 }, (row) => {
    const mean = sum(row.map((i) => x[i])) / width;
    const rstd = 1 / Math.sqrt(sum(row.map((i) => (x[i] - mean) ** 2)) / width + eps);
    stats.push(mean, rstd);
    const h = row.map((i) => (x[i] - mean) * rstd);
    const g = row.map((i, c) => dy[i] * (weight ? weight[c] : 1));
    const gMean = sum(g) / width;
    const ghMean = sum(g.map((value, c) => value * h[c])) / width;
    row.forEach((i, c) => {
      y[i] = h[c] * (weight ? weight[c] : 1) + (bias ? bias[c] : 0);
      dx[i] = rstd * (g[c] - gMean - h[c] * ghMean);
      dweight[c] += dy[i] * h[c];
      dbias[c] += dy[i];
    });
  });
  return { y, stats, dx, dweight, dbias };
}
