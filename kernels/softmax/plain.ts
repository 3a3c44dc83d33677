import type { DeviceProfile } from '../lib/device.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { LOWEST, expWgsl, logWgsl } from '../lib/math.ts';
import { perInvocation } from '../lib/plain.ts';
import { backwardCost, forwardCost } from './problem.ts';
import type { SoftmaxProblem } from './problem.ts';

/** The index of element c of row i. */
const at = '(i / params.inner * params.width + c) * params.inner + i % params.inner';

const sizes = ({ width, inner }: SoftmaxProblem) => ({ width: u32(width), inner: u32(inner) });

/** One invocation per row. */
export const forwardPlain = (problem: SoftmaxProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: `${problem.log ? 'log_' : ''}softmax.forward/plain`,
      bindings: [input('x'), output('y')],
      uniforms: sizes(problem),
      functions: expWgsl + (problem.log ? logWgsl : ''),
      count: problem.outer * problem.inner,
      body: /* wgsl */ `
  var m = ${LOWEST};
  for (var c = 0u; c < params.width; c++) { m = max(m, x[${at}]); }
  var s = 0.0;
  for (var c = 0u; c < params.width; c++) { s += accurate_exp(x[${at}] - m); }
  ${problem.log ? 'let log_s = accurate_log(s);' : ''}
  for (var c = 0u; c < params.width; c++) {
    let j = ${at};
    y[j] = ${problem.log ? '(x[j] - m) - log_s' : 'accurate_exp(x[j] - m) / s'};
  }`,
      cost: forwardCost(problem),
    },
    device,
  ),
];

/** One invocation per row. */
export const backwardPlain = (problem: SoftmaxProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: `${problem.log ? 'log_' : ''}softmax.backward/plain`,
      bindings: [input('y'), input('dy'), output('dx')],
      uniforms: sizes(problem),
      functions: problem.log ? expWgsl : '',
      count: problem.outer * problem.inner,
      body: /* wgsl */ `
  var sum = 0.0;
  for (var c = 0u; c < params.width; c++) {
    let j = ${at};
    sum += ${problem.log ? 'dy[j]' : 'y[j] * dy[j]'};
  }
  for (var c = 0u; c < params.width; c++) {
    let j = ${at};
    dx[j] = ${problem.log ? 'dy[j] - accurate_exp(y[j]) * sum' : 'y[j] * (dy[j] - sum)'};
  }`,
      cost: backwardCost(problem),
    },
    device,
  ),
];
