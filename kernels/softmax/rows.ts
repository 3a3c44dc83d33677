import type { DeviceProfile } from '../lib/device.ts';
import { input, output } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { accurateExp, expWgsl, logWgsl } from '../lib/math.ts';
import type { RowPlan } from '../lib/row-plan.ts';
import { cache, declareCached, eachCached, eachColumn, own, rowKernel, store, valueOf } from '../lib/rows.ts';
import { backwardCost, forwardCost } from './problem.ts';
import type { SoftmaxProblem } from './problem.ts';

/* The variants whose lanes share rows: see lib/row-plan.ts. */

export function forwardOverRows(problem: SoftmaxProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const name = problem.log ? 'log_softmax.forward' : 'softmax.forward';
  const functions = expWgsl + (problem.log ? logWgsl : '');
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
  ${store(plan, { y: 'result' }, result, 'x')}`;
  return rowKernel(
    {
      name,
      shape: problem,
      plan,
      bindings: [input('x', element), output('y', element)],
      bytesPerSlice: { x: bytes, y: bytes },
      functions,
      body,
      cost: forwardCost(problem),
    },
    device,
  );
}

export function backwardOverRows(problem: SoftmaxProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const name = problem.log ? 'log_softmax.backward' : 'softmax.backward';
  const functions = problem.log ? expWgsl : '';
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
  ${store(plan, { dx: 'result' }, problem.log ? `${dy} - ${accurateExp(plan.vector)}(${y}) * sum` : `${y} * (${dy} - sum)`, 'y')}`,
      cost: backwardCost(problem),
    },
    device,
  );
}
