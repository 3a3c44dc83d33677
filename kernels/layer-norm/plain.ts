import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { f32, input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';
import { backwardBindings, backwardCost, f16OfBackward, forwardBindings, forwardCost, resultsOf } from './problem.ts';
import type { LayerNormBackwardProblem, LayerNormProblem } from './problem.ts';

/** One invocation per row. */
export function forwardPlain(problem: LayerNormProblem, device: DeviceProfile): Launch[] {
  const { rows, width, eps, weight, bias, f16 } = problem;
  const kernel = perInvocation(
    {
      name: 'layer_norm.forward/plain',
      bindings: forwardBindings(problem, 'f32'),
      uniforms: { width: u32(width), eps: f32(eps) },
      count: rows,
      body: /* wgsl */ `
  let first = i * params.width;
  var sum = 0.0;
  for (var c = 0u; c < params.width; c++) { sum += x[first + c]; }
  let mean = sum / f32(params.width);
  var squares = 0.0;
  for (var c = 0u; c < params.width; c++) {
    let d = x[first + c] - mean;
    squares += d * d;
  }
  let rstd = 1.0 / sqrt(squares / f32(params.width) + params.eps);
  for (var c = 0u; c < params.width; c++) {
    let h = (x[first + c] - mean) * rstd;
    y[first + c] = h${weight ? ' * weight[c]' : ''}${bias ? ' + bias[c]' : ''};
  }
  stats[i] = vec2f(mean, rstd);`,
      cost: forwardCost(problem, rows),
    },
    device,
  );
  return inF16([kernel], f16 ? ['y'] : undefined);
}

/** One invocation per row for dx, then one a column for dweight and dbias. */
export function backwardPlain(problem: LayerNormBackwardProblem, device: DeviceProfile): Launch[] {
  const { rows, width, weight, pending } = problem;
  const launches: Launch[] = [];
  if (problem.dx) {
    launches.push(
      perInvocation(
        {
          name: 'layer_norm.backward/plain',
          bindings: backwardBindings(problem, 'f32'),
          uniforms: { width: u32(width) },
          count: rows,
          body: /* wgsl */ `
  let first = i * params.width;
  let mean = stats[i].x;
  let rstd = stats[i].y;
  var g_sum = 0.0;
  var gh_sum = 0.0;
  for (var c = 0u; c < params.width; c++) {
    let h = (x[first + c] - mean) * rstd;
    let g = dy[first + c]${weight ? ' * weight[c]' : ''};
    g_sum += g;
    gh_sum += g * h;
  }
  let n = f32(params.width);
  for (var c = 0u; c < params.width; c++) {
    let h = (x[first + c] - mean) * rstd;
    let g = dy[first + c]${weight ? ' * weight[c]' : ''};
    let result = rstd * (g - g_sum / n - h * (gh_sum / n))${pending ? ' + pending[first + c]' : ''};
    ${Object.entries(resultsOf(problem, 'i'))
      .map(([name, value]) => `${name}[first + c] = ${value};`)
      .join(' ')}
  }`,
          cost: backwardCost(problem, rows),
        },
        device,
      ),
    );
  }
  if (problem.affine) {
    launches.push(
      perInvocation(
        {
          name: 'layer_norm.columns/plain',
          bindings: [input('x'), input('dy'), input('stats', 'vec2f'), output('dweight'), output('dbias')],
          uniforms: { rows: u32(rows), width: u32(width) },
          count: width,
          body: /* wgsl */ `
  var weight_sum = 0.0;
  var bias_sum = 0.0;
  // Sums of 64 rows are added up, not single rows: rounding errors grow with the number of additions in a row.
  for (var block = 0u; block < params.rows; block += 64u) {
    var weight_part = 0.0;
    var bias_part = 0.0;
    for (var row = block; row < min(block + 64u, params.rows); row++) {
      let g = dy[row * params.width + i];
      let h = (x[row * params.width + i] - stats[row].x) * stats[row].y;
      weight_part += g * h;
      bias_part += g;
    }
    weight_sum += weight_part;
    bias_sum += bias_part;
  }
  dweight[i] = weight_sum;
  dbias[i] = bias_sum;`,
          cost: { flops: 5 * rows * width, bytes: 8 * rows * width },
        },
        device,
      ),
    );
  }
  return inF16(launches, f16OfBackward(problem));
}
