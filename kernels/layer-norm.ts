import type { DeviceProfile } from './device.ts';
import { inHalf } from './half.ts';
import { f32, input, output, require } from './kernel.ts';
import type { Binding, Kernel } from './kernel.ts';
import { eachColumn, planRows, rowKernel } from './rows.ts';
import type { RowPlan, RowShape } from './rows.ts';

/*
 * Layer normalisation (Ba, Kiros and Hinton, 2016) of the rows of x [rows, width]:
 *
 *     mean = sum(x) / width,  rstd = 1 / sqrt(sum((x - mean)^2) / width + eps)     (two passes)
 *     h = (x - mean) rstd,    y = h weight + bias
 *
 * Kept for backward: x and stats [rows, 2] of mean and rstd. Backward, with g = dy weight:
 *
 *     dx = rstd (g - sum(g) / width - h sum(g h) / width)  (+ pending)
 *     dweight = sum over rows of dy h,  dbias = sum over rows of dy                (layer-norm-columns.ts)
 *
 * All gradients are written. `pending` is a gradient that reached x along another path (the residual connection); adding
 * it here saves a pass. The forward kernel can likewise make x itself as the sum of a residual and a branch.
 */

export interface LayerNormProblem {
  readonly rows: number;
  readonly width: number;
  readonly eps: number;
  readonly weight: boolean;
  readonly bias: boolean;
  /** x = residual + branch, and is written too. */
  readonly add: boolean;
  /** y is f16 in memory. */
  readonly half?: boolean;
}

export interface LayerNormBackwardProblem {
  readonly rows: number;
  readonly width: number;
  readonly weight: boolean;
  readonly pending: boolean;
  /** dy is f16 in memory. */
  readonly half?: boolean;
}

interface Layout {
  readonly shape: RowShape;
  readonly plan: RowPlan;
  readonly element: string;
  readonly rowBytes: number;
}

function layout({ rows, width }: { rows: number; width: number }, device: DeviceProfile, kernel: string): Layout {
  require(rows > 0 && width > 0, kernel, 'sizes of at least 1', [rows, width]);
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
  return { shape, plan, element: plan.vector === 4 ? 'vec4f' : 'f32', rowBytes: width * 4 };
}

/** Bindings: x, or residual, branch and sum (written); weight and bias if the problem has them; y; stats (vec2f). */
export const layerNormForward: Kernel<LayerNormProblem> = (problem, device) => {
  const { rows, width, eps, weight, bias, add, half } = problem;
  const name = add ? 'add_layer_norm.forward' : 'layer_norm.forward';
  const { shape, plan, element, rowBytes } = layout(problem, device, name);
  const x = add ? 'sum' : 'x';
  const sources = add
    ? [input('residual', element), input('branch', element), output('sum', element)]
    : [input('x', element)];
  const bindings: Binding[] = [...sources, output('y', element), output('stats', 'vec2f')];
  const advancing: Record<string, number> = { y: half ? rowBytes / 2 : rowBytes, stats: 8 };
  for (const source of sources) advancing[source.name] = rowBytes;
  if (weight) bindings.push(input('weight', element));
  if (bias) bindings.push(input('bias', element));
  const launches = rowKernel(
    {
      name,
      shape,
      plan,
      bindings,
      bytesPerSlice: advancing,
      uniforms: { eps: f32(eps) },
      body: /* wgsl */ `
  var part = V(0);
  ${eachColumn(plan, add ? 'let value = residual[i] + branch[i]; sum[i] = value; part += value;' : 'part += x[i];')}
  let mean = row_sum(part) / f32(params.width);
  part = V(0);
  ${eachColumn(plan, `let d = ${x}[i] - mean; part += d * d;`)}
  let rstd = 1.0 / sqrt(row_sum(part) / f32(params.width) + params.eps);
  ${eachColumn(plan, `y[i] = (${x}[i] - mean) * rstd${weight ? ' * weight[c]' : ''}${bias ? ' + bias[c]' : ''};`)}
  if (lane == 0u) { stats[row] = vec2f(mean, rstd); }`,
      cost: { flops: (add ? 9 : 8) * rows * width, bytes: ((add ? 16 : 8) - (half ? 2 : 0)) * rows * width },
    },
    device,
  );
  return inHalf(launches, half ? ['y'] : undefined);
};

/** Bindings: x, stats (vec2f), weight if the problem has it, dy, dx, pending if the problem has it. */
export const layerNormBackward: Kernel<LayerNormBackwardProblem> = (problem, device) => {
  const { rows, width, weight, pending, half } = problem;
  const name = pending ? 'layer_norm.backward_add' : 'layer_norm.backward';
  const { shape, plan, element, rowBytes } = layout(problem, device, name);
  const bindings = [input('x', element), input('dy', element), input('stats', 'vec2f'), output('dx', element)];
  if (weight) bindings.push(input('weight', element));
  if (pending) bindings.push(input('pending', element));
  const g = `dy[i]${weight ? ' * weight[c]' : ''}`;
  const launches = rowKernel(
    {
      name,
      shape,
      plan,
      bindings,
      bytesPerSlice: {
        x: rowBytes,
        dy: half ? rowBytes / 2 : rowBytes,
        dx: rowBytes,
        stats: 8,
        ...(pending ? { pending: rowBytes } : {}),
      },
      body: /* wgsl */ `
  let mean = stats[row].x;
  let rstd = stats[row].y;
  var part = V(0);
  var part_h = V(0);
  ${eachColumn(plan, `let g = ${g}; part += g; part_h += g * ((x[i] - mean) * rstd);`)}
  let g_mean = row_sum(part) / f32(params.width);
  let gh_mean = row_sum(part_h) / f32(params.width);
  ${eachColumn(
    plan,
    `dx[i] = rstd * (${g} - g_mean - (x[i] - mean) * rstd * gh_mean)${pending ? ' + pending[i]' : ''};`,
  )}`,
      cost: { flops: 12 * rows * width, bytes: ((pending ? 16 : 12) - (half ? 2 : 0)) * rows * width },
    },
    device,
  );
  return inHalf(launches, half ? ['dy'] : undefined);
};
