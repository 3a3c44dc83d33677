/**
 * Softmax and its logarithm over the rows of a tensor [outer, width, inner] (lib/rows.ts):
 *
 *     softmax:     y = exp(x - m) / s          dx = y (dy - sum(y dy))
 *     log-softmax: y = x - m - log(s)          dx = dy - exp(y) sum(dy)
 *
 * with m = max(x) and s = sum(exp(x - m)) of the row. Backward needs y alone. Gradients are written. A NaN makes all of
 * its row NaN: not by the built-in exp, which may lose it.
 */
import { input, output, require } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { accurateExp, expWgsl, logWgsl } from '../lib/math.ts';
import { planRows } from '../lib/row-plan.ts';
import { declareCached, eachColumn, eachCached, cache, own, rowKernel, store, valueOf } from '../lib/rows.ts';
import type { RowShape } from '../lib/row-plan.ts';

export interface SoftmaxProblem extends RowShape {
  readonly log: boolean;
}

const check = ({ outer, width, inner }: RowShape, kernel: string): void =>
  require(outer > 0 && width > 0 && inner > 0, kernel, 'sizes of at least 1', [outer, width, inner]);

/** Bindings: x, y. */
export const softmaxForward: Kernel<SoftmaxProblem> = (problem, device) => {
  const name = problem.log ? 'log_softmax.forward' : 'softmax.forward';
  check(problem, name);
  const elements = problem.outer * problem.inner * problem.width;
  const cost = { flops: 8 * elements, bytes: 8 * elements };
  const functions = expWgsl + (problem.log ? logWgsl : '');
  const plan = planRows(problem, device, 'unaligned');
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const bytes = problem.width * problem.inner * 4;
  const value = valueOf(plan, 'x');
  const exp = accurateExp(plan.vector);
  const result = problem.log
    ? `(${value} - m) - log_sum`
    : plan.cached
      ? `${value} * scale`
      : `${exp}(x[i] - m) * scale`;
  const body = /* wgsl */ `
  ${declareCached(plan, 'x')}
  var largest = V(LOWEST);
  ${eachColumn(plan, `let value = ${own(plan, 'x[i]', 'LOWEST')}; ${cache(plan, 'x', 'value')} largest = max(largest, value);`)}
  let m = row_max(largest);
  var sum = V(0);
  ${eachCached(plan, `let e = ${exp}(${value} - m); ${problem.log ? '' : cache(plan, 'x', 'e')} sum += ${own(plan, 'e', '0')};`)}
  ${problem.log ? 'let log_sum = accurate_log(row_sum(sum));' : 'let scale = 1.0 / row_sum(sum);'}
  ${store(plan, ['y'], result, 'x')}`;
  return rowKernel(
    {
      name,
      shape: problem,
      plan,
      bindings: [input('x', element), output('y', element)],
      bytesPerSlice: { x: bytes, y: bytes },
      functions,
      body,
      cost,
    },
    device,
  );
};

/** Bindings: y, dy, dx. */
export const softmaxBackward: Kernel<SoftmaxProblem> = (problem, device) => {
  const name = problem.log ? 'log_softmax.backward' : 'softmax.backward';
  check(problem, name);
  const elements = problem.outer * problem.inner * problem.width;
  const cost = { flops: (problem.log ? 7 : 4) * elements, bytes: 12 * elements };
  const functions = problem.log ? expWgsl : '';
  const plan = planRows(problem, device, 'unaligned');
  const [y, dy] = [valueOf(plan, 'y'), valueOf(plan, 'dy')];
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const bytes = problem.width * problem.inner * 4;
  return rowKernel(
    {
      name,
      shape: problem,
      plan,
      bindings: [input('y', element), input('dy', element), output('dx', element)],
      bytesPerSlice: { y: bytes, dy: bytes, dx: bytes },
      functions,
      body: /* wgsl */ `
  ${declareCached(plan, 'y')}
  ${declareCached(plan, 'dy')}
  var part = V(0);
  ${eachColumn(
    plan,
    `let own_y = ${own(plan, 'y[i]', '0')}; let own_dy = ${own(plan, 'dy[i]', '0')}; ${cache(plan, 'y', 'own_y')} ${cache(plan, 'dy', 'own_dy')}
    part += ${problem.log ? 'own_dy' : 'own_y * own_dy'};`,
  )}
  let sum = row_sum(part);
  ${store(plan, ['dx'], problem.log ? `${dy} - ${accurateExp(plan.vector)}(${y}) * sum` : `${y} * (${dy} - sum)`, 'y')}`,
      cost,
    },
    device,
  );
};
