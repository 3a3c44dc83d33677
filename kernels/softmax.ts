import { input, output, require } from './kernel.ts';
import type { Kernel } from './kernel.ts';
import { accurateExp, expWgsl, logWgsl } from './math.ts';
import { isRagged, raggedRowKernel } from './ragged-rows.ts';
import { eachColumn, planRows, rowKernel } from './rows.ts';
import type { RowShape } from './rows.ts';

/*
 * Softmax and its logarithm over the rows of a tensor [outer, width, inner] (rows.ts):
 *
 *     softmax:     y = exp(x - m) / s          dx = y (dy - sum(y dy))
 *     log-softmax: y = x - m - log(s)          dx = dy - exp(y) sum(dy)
 *
 * with m = max(x) and s = sum(exp(x - m)) of the row. Backward needs y alone. Gradients are written. A NaN makes all of
 * its row NaN: not by the built-in exp, which may lose it.
 */

export interface SoftmaxProblem extends RowShape {
  readonly log: boolean;
}

const check = ({ outer, width, inner }: RowShape, kernel: string): void =>
  require(outer > 0 && width > 0 && inner > 0, kernel, 'sizes of at least 1', [outer, width, inner]);

const total = (v: string): string => `(${v}.x + ${v}.y) + (${v}.z + ${v}.w)`;
const highest = 'max(max(largest.x, largest.y), max(largest.z, largest.w))';

/** Bindings: x, y. */
export const softmaxForward: Kernel<SoftmaxProblem> = (problem, device) => {
  const name = problem.log ? 'log_softmax.forward' : 'softmax.forward';
  check(problem, name);
  const elements = problem.outer * problem.inner * problem.width;
  const cost = { flops: 8 * elements, bytes: 8 * elements };
  const functions = expWgsl + (problem.log ? logWgsl : '');
  if (isRagged(problem, device)) {
    const gather = [
      { name: 'largest', neutral: 'LOWEST', combine: 'max(a, b)', value: 'x[j]', then: `let m = ${highest};` },
      {
        name: 'sum',
        neutral: '0',
        combine: 'a + b',
        value: 'accurate_exp4(x[j] - m)',
        then: problem.log ? `let log_sum = accurate_log(${total('sum')});` : `let scale = 1.0 / (${total('sum')});`,
      },
    ];
    const value = problem.log ? '(x[j] - m) - log_sum' : 'accurate_exp4(x[j] - m) * scale';
    const spec = { name, shape: problem, inputs: ['x'], output: 'y', functions, gather, value, cost };
    return raggedRowKernel(spec, device);
  }
  const plan = planRows(problem, device, true);
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const bytes = problem.width * problem.inner * 4;
  const { held } = plan;
  const value = held ? 'held[k]' : 'x[i]';
  const exp = accurateExp(plan.vector);
  const body = /* wgsl */ `
  ${held ? `var held: array<V, ${held}>;` : ''}
  var largest = V(LOWEST);
  ${eachColumn(plan, `let value = x[i]; ${held ? 'held[k] = value;' : ''} largest = max(largest, value);`)}
  let m = row_max(largest);
  var sum = V(0);
  ${eachColumn(plan, `let e = ${exp}(${value} - m); ${held && !problem.log ? 'held[k] = e;' : ''} sum += e;`)}
  ${problem.log ? 'let log_sum = accurate_log(row_sum(sum));' : 'let scale = 1.0 / row_sum(sum);'}
  ${eachColumn(
    plan,
    problem.log
      ? `y[i] = (${value} - m) - log_sum;`
      : held
        ? 'y[i] = held[k] * scale;'
        : `y[i] = ${exp}(x[i] - m) * scale;`,
  )}`;
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
  if (isRagged(problem, device)) {
    const term = problem.log ? 'dy[j]' : 'y[j] * dy[j]';
    const then = `let sum = ${total('part')};`;
    const gather = [{ name: 'part', neutral: '0', combine: 'a + b', value: term, then }];
    const value = problem.log ? 'dy[j] - accurate_exp4(y[j]) * sum' : 'y[j] * (dy[j] - sum)';
    const spec = { name, shape: problem, inputs: ['y', 'dy'], output: 'dx', functions, gather, value, cost };
    return raggedRowKernel(spec, device);
  }
  const plan = planRows(problem, device);
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
  var part = V(0);
  ${eachColumn(plan, problem.log ? 'part += dy[i];' : 'part += y[i] * dy[i];')}
  let sum = row_sum(part);
  ${eachColumn(plan, problem.log ? `dx[i] = dy[i] - ${accurateExp(plan.vector)}(y[i]) * sum;` : 'dx[i] = y[i] * (dy[i] - sum);')}`,
      cost,
    },
    device,
  );
};
