import { sum } from '../lib/reference-math.ts';
import type { BatchNormProblem } from './problem.ts';

type Numbers = ArrayLike<number>;

interface Operands {
  readonly x: Numbers;
  readonly dy: Numbers;
  readonly weight: Numbers;
  readonly bias: Numbers;
  readonly runningMean: Numbers;
  readonly runningVar: Numbers;
}

/** Batch norm in float64, the batch's mean and unbiased variance, and the gradients for the gradient dy of y. */
export function batchNormReference(
  problem: BatchNormProblem & { training: boolean; eps: number },
  { x, dy, weight, bias, runningMean, runningVar }: Operands,
) {
  const { batch, channels, plane, relu, training, eps } = problem;
  const n = batch * plane;
  const [y, dx] = [new Float64Array(x.length), new Float64Array(x.length)];
  const [dweight, dbias, mean, unbiased] = [0, 1, 2, 3].map(() => new Float64Array(channels));
  for (let c = 0; c < channels; c++) {
    const places = Array.from({ length: n }, (_, i) => (Math.floor(i / plane) * channels + c) * plane + (i % plane));
    mean[c] = sum(places.map((i) => x[i])) / n;
    const squares = sum(places.map((i) => (x[i] - mean[c]) ** 2));
    unbiased[c] = squares / (n - 1);
    const center = training ? mean[c] : runningMean[c];
    const rstd = 1 / Math.sqrt((training ? squares / n : runningVar[c]) + eps);
    const h = places.map((i) => (x[i] - center) * rstd);
    const out = h.map((value) => value * weight[c] + bias[c]);
    const d = places.map((i, k) => (relu && out[k] <= 0 ? 0 : dy[i]));
    dbias[c] = sum(d);
    dweight[c] = sum(d.map((value, k) => value * h[k]));
    places.forEach((i, k) => {
      y[i] = relu ? Math.max(out[k], 0) : out[k];
      dx[i] = weight[c] * rstd * (training ? d[k] - dbias[c] / n - (h[k] * dweight[c]) / n : d[k]);
    });
  }
  return { y, dx, dweight, dbias, mean, unbiased };
}
