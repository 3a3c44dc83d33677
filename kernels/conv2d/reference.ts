import { convOutput } from './problem.ts';
import type { ConvProblem } from './problem.ts';

type Numbers = ArrayLike<number>;

/** A convolution in float64, and the gradients for the gradient dy of y, by the definition. */
export function convReference(
  problem: ConvProblem,
  { x, weight, bias, dy }: { x: Numbers; weight: Numbers; bias: Numbers | null; dy: Numbers },
) {
  const { batch, channels, height, width, filters, kernelHeight, kernelWidth, stride, padding, groups } = problem;
  const [outHeight, outWidth] = convOutput(problem);
  const depth = channels / groups;
  const y = new Float64Array(dy.length);
  const dx = new Float64Array(x.length);
  const dweight = new Float64Array(weight.length);
  const dbias = new Float64Array(filters);
  for (let b = 0; b < batch; b++)
    for (let o = 0; o < filters; o++)
      for (let p = 0; p < outHeight; p++)
        for (let q = 0; q < outWidth; q++) {
          const result = ((b * filters + o) * outHeight + p) * outWidth + q;
          y[result] = bias?.[o] ?? 0;
          dbias[o] += dy[result];
          for (let k = 0; k < depth; k++)
            for (let i = 0; i < kernelHeight; i++)
              for (let j = 0; j < kernelWidth; j++) {
                const [h, w] = [p * stride - padding + i, q * stride - padding + j];
                if (h < 0 || h >= height || w < 0 || w >= width) continue;
                const channel = Math.floor(o / (filters / groups)) * depth + k;
                const pixel = ((b * channels + channel) * height + h) * width + w;
                const tap = ((o * depth + k) * kernelHeight + i) * kernelWidth + j;
                y[result] += x[pixel] * weight[tap];
                dx[pixel] += dy[result] * weight[tap];
                dweight[tap] += dy[result] * x[pixel];
              }
        }
  return { y, dx, dweight, dbias };
}
