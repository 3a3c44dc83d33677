import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { f32, input, output, u32 } from '../lib/kernel.ts';
import type { Launch, Uniforms } from '../lib/kernel.ts';
import { rectified } from '../lib/math.ts';
import { perInvocation } from '../lib/plain.ts';
import type { BatchNormBackwardProblem, BatchNormProblem, BatchNormTrainingProblem } from './problem.ts';

const sizes = ({ batch, channels, plane }: BatchNormProblem): Uniforms => ({
  batch: u32(batch),
  channels: u32(channels),
  plane: u32(plane),
});

/**
 * Named sums over the values `j` of the channel `i`. Rounding errors grow with the number of additions in a row, so runs of 64
 * pixels have sums of their own, of every fourth pixel each, which are then added.
 */
const sumsOf = (sums: Readonly<Record<string, string>>, before = ''): string => {
  const all = (text: (name: string) => string): string => Object.keys(sums).map(text).join(' ');
  return /* wgsl */ `
  ${all((name) => `var ${name}_sums = vec4f();`)}
  for (var b = 0u; b < params.batch; b++) {
    for (var run = 0u; run < params.plane; run += 64u) {
      ${all((name) => `var ${name}_run = vec4f();`)}
      for (var p = run; p < min(run + 64u, params.plane); p++) {
        let j = (b * params.channels + i) * params.plane + p;
        ${before}
        ${all((name) => `${name}_run[p % 4u] += ${sums[name]};`)}
      }
      ${all((name) => `${name}_sums += ${name}_run;`)}
    }
  }
  ${all((name) => `let ${name} = dot(${name}_sums, vec4f(1.0));`)}`;
};

/** One invocation a channel for the statistics, then one an element for y. */
export function trainingPlain(problem: BatchNormTrainingProblem, device: DeviceProfile): Launch[] {
  const { batch, channels, plane, momentum, eps, f16 } = problem;
  const values = batch * plane;
  const statistics = perInvocation(
    {
      name: 'batch_norm.training/plain',
      bindings: [input('x'), ...['mean', 'rstd', 'running_mean', 'running_var'].map((name) => output(name))],
      uniforms: { ...sizes(problem), momentum: f32(momentum), eps: f32(eps) },
      count: channels,
      body: /* wgsl */ `
  let n = f32(params.batch * params.plane);
  ${sumsOf({ total: 'x[j]' })}
  let rounded = total / n;
  // The deviations from the rounded mean, and what it lacks to be the mean.
  ${sumsOf({ squares: 'd * d', rest: 'd' }, 'let d = x[j] - rounded;')}
  let average = rounded + rest / n;
  let deviations = squares - rest * rest / n;
  mean[i] = average;
  rstd[i] = 1.0 / sqrt(deviations / n + params.eps);
  running_mean[i] += params.momentum * (average - running_mean[i]);
  running_var[i] += params.momentum * (deviations / (n - 1.0) - running_var[i]);`,
      cost: { flops: 5 * channels * values, bytes: 8 * channels * values },
    },
    device,
  );
  return [...inF16([statistics], f16), ...forwardPlain(problem, device)];
}

/** One invocation an element. */
export function forwardPlain(problem: BatchNormProblem, device: DeviceProfile): Launch[] {
  const { batch, channels, plane, relu, f16 } = problem;
  const n = batch * channels * plane;
  const kernel = perInvocation(
    {
      name: 'batch_norm.forward/plain',
      bindings: [...['x', 'mean', 'rstd', 'weight', 'bias'].map((name) => input(name)), output('y')],
      uniforms: sizes(problem),
      count: n,
      body: /* wgsl */ `
  let c = i / params.plane % params.channels;
  let value = (x[i] - mean[c]) * rstd[c] * weight[c] + bias[c];
  y[i] = ${relu ? rectified('value', 'f32') : 'value'};`,
      cost: { flops: 4 * n, bytes: 8 * n },
    },
    device,
  );
  return inF16([kernel], f16);
}

/** One invocation a channel for dweight and dbias, then one an element for dx. */
export function backwardPlain(problem: BatchNormBackwardProblem, device: DeviceProfile): Launch[] {
  const { batch, channels, plane, relu, training, inputGradient, f16 } = problem;
  const n = batch * channels * plane;
  const operands = ['x', 'dy', 'mean', 'rstd', ...(relu ? ['weight', 'bias'] : [])];
  /** The normalised value, and the gradient that reaches it through the ReLU, of element j of channel c. */
  const gradient = (j: string, c: string): string => /* wgsl */ `
  let h = (x[${j}] - mean[${c}]) * rstd[${c}];
  ${relu ? `let d = select(dy[${j}], 0.0, h * weight[${c}] + bias[${c}] <= 0.0);` : `let d = dy[${j}];`}`;
  const launches = [
    perInvocation(
      {
        name: 'batch_norm.sums/plain',
        bindings: [...operands.map((name) => input(name)), output('dweight'), output('dbias')],
        uniforms: sizes(problem),
        count: channels,
        body: /* wgsl */ `
  ${sumsOf({ total: 'd', product: 'd * h' }, gradient('j', 'i'))}
  dbias[i] = total;
  dweight[i] = product;`,
        cost: { flops: 6 * n, bytes: 8 * n },
      },
      device,
    ),
  ];
  if (inputGradient) {
    const others = [...(relu ? [] : ['weight']), ...(training ? ['dweight', 'dbias'] : [])];
    launches.push(
      perInvocation(
        {
          name: 'batch_norm.input_gradient/plain',
          bindings: [...[...operands, ...others].map((name) => input(name)), output('dx')],
          uniforms: sizes(problem),
          count: n,
          body: /* wgsl */ `
  let c = i / params.plane % params.channels;
  let n = f32(params.batch * params.plane);
  ${gradient('i', 'c')}
  dx[i] = weight[c] * rstd[c] * ${training ? '(d - dbias[c] / n - h * dweight[c] / n)' : 'd'};`,
          cost: { flops: 9 * n, bytes: 12 * n },
        },
        device,
      ),
    );
  }
  return inF16(launches, f16);
}
