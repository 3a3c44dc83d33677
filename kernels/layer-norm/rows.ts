import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { f32, output } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { rowAfterRow } from '../lib/row-plan.ts';
import type { RowPlan, RowShape } from '../lib/row-plan.ts';
import {
  cache,
  columnOf,
  declareCached,
  eachCached,
  eachColumn,
  eachLoad,
  rowKernel,
  store,
  valueOf,
  workgroupsOf,
} from '../lib/rows.ts';
import { addBlocks, columnGradients } from './columns.ts';
import {
  backwardBindings,
  backwardCost,
  copyBytes,
  f16OfBackward,
  forwardBindings,
  forwardCost,
  resultsOf,
} from './problem.ts';
import type { LayerNormBackwardProblem, LayerNormProblem } from './problem.ts';

/*
 * The variants whose lanes share rows: see lib/row-plan.ts. Backward sums the gradients of weight and bias on the way, for the
 * rows of each workgroup, which it takes one after the other; a second dispatch adds these up, if there are several
 * workgroups. Where lanes would have to keep too much, these gradients have a kernel of their own (columns.ts).
 */

export const shapeOf = ({ rows, width }: { rows: number; width: number }): RowShape => ({
  outer: rows,
  width,
  inner: 1,
});

const elementOf = ({ vector }: RowPlan): string => (vector === 4 ? 'vec4f' : 'f32');

export function forwardOverRows(problem: LayerNormProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { rows, width, eps, weight, bias, f16 } = problem;
  const x = valueOf(plan, 'x');
  const launches = rowKernel(
    {
      name: 'layer_norm.forward',
      shape: shapeOf(problem),
      plan,
      bindings: forwardBindings(problem, elementOf(plan)),
      bytesPerSlice: { x: 4 * width, y: (f16 ? 2 : 4) * width, stats: 8 },
      perColumn: [...(weight ? ['weight'] : []), ...(bias ? ['bias'] : [])],
      uniforms: { eps: f32(eps) },
      body: /* wgsl */ `
  ${declareCached(plan, 'x')}
  var part = V(0);
  ${eachLoad(plan, `let value = x[i];  ${cache(plan, 'x', 'value')} part += value;`)}
  let mean = row_sum(part) / f32(params.width);
  part = V(0);
  ${eachCached(plan, `let d = ${x} - mean; part += d * d;`)}
  let rstd = 1.0 / sqrt(row_sum(part) / f32(params.width) + params.eps);
  ${store(
    plan,
    { y: 'result' },
    `(${x} - mean) * rstd${weight ? ` * ${columnOf(plan, 'weight')}` : ''}${bias ? ` + ${columnOf(plan, 'bias')}` : ''}`,
    'x',
  )}
  if (lane == 0u) { stats[row] = vec2f(mean, rstd); }`,
      cost: forwardCost(problem, rows),
    },
    device,
  );
  return inF16(launches, f16 ? ['y'] : undefined);
}

export function backwardOverRows(problem: LayerNormBackwardProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { dx, affine } = problem;
  const summing = dx && affine ? summingPlan(problem, plan, device) : null;
  return [
    ...(dx ? inputGradient(problem, summing ?? plan, summing !== null, device) : []),
    ...(affine && !summing ? columnGradients(problem, device) : []),
  ];
}

/** The plan in which one launch sums columns on the way, or null where there is none. */
function summingPlan(problem: LayerNormBackwardProblem, plan: RowPlan, device: DeviceProfile): RowPlan | null {
  const { rows, width } = problem;
  const summing = rowAfterRow(plan, rows, device);
  const fits = 4 * rows * width <= device.maxBindingSize;
  const sums = summing && workgroupsOf(summing, rows) > 1 ? ['partials'] : ['dweight', 'dbias'];
  return fits && backwardBindings(problem, 'f32').length + sums.length <= device.maxStorageBuffers ? summing : null;
}

/** dx, and with `columns` dweight and dbias too. */
function inputGradient(
  problem: LayerNormBackwardProblem,
  plan: RowPlan,
  columns: boolean,
  device: DeviceProfile,
): Launch[] {
  const { rows, width, weight, pending, f16 } = problem;
  const element = elementOf(plan);
  const bindings = backwardBindings(problem, element);
  const groups = columns ? workgroupsOf(plan, rows) : 1;
  if (columns && groups > 1) bindings.push(output('partials', element));
  else if (columns) bindings.push(output('dweight', element), output('dbias', element));
  // Straight loads are all under way at once; a processor adds it when it stores.
  const early = pending && plan.straight;
  const [x, dy] = [valueOf(plan, 'x'), valueOf(plan, 'dy')];
  const g = `${dy}${weight ? ` * ${columnOf(plan, 'weight')}` : ''}`;
  const h = plan.cached > 0 ? x : '(x[i] - mean) * rstd';
  const launches = rowKernel(
    {
      name: `layer_norm.backward${pending ? '_add' : ''}${columns ? '_columns' : ''}`,
      shape: shapeOf(problem),
      plan,
      bindings,
      perColumn: weight ? ['weight'] : [],
      bytesPerSlice: {
        x: 4 * width,
        dy: (f16 ? 2 : 4) * width,
        dx: 4 * width,
        stats: 8,
        ...(pending ? { pending: 4 * width } : {}),
        ...(problem.copy ? { copy: copyBytes(problem) * width } : {}),
        ...(problem.rowScale ? { row_scale: 4 } : {}),
      },
      before: columns
        ? `var dweight_cached: array<V, ${plan.cached}>; var dbias_cached: array<V, ${plan.cached}>;`
        : '',
      body: /* wgsl */ `
  let mean = stats[row].x;
  let rstd = stats[row].y;
  ${declareCached(plan, 'x')}
  ${declareCached(plan, 'dy')}
  ${early ? declareCached(plan, 'pending') : ''}
  ${plan.cached > 0 ? eachColumn(plan, `x_cached[k] = x[i]; dy_cached[k] = dy[i]; ${early ? 'pending_cached[k] = pending[i];' : ''}`) : ''}
  var part = V(0);
  var part_h = V(0);
  ${eachCached(
    plan,
    /* wgsl */ `
    let h = (${x} - mean) * rstd; ${cache(plan, 'x', 'h')}
    ${columns ? `dweight_cached[k] += ${dy} * h; dbias_cached[k] += ${dy};` : ''}
    let g = ${g}; part += g; part_h += g * h;`,
  )}
  let g_mean = row_sum(part) / f32(params.width);
  let gh_mean = row_sum(part_h) / f32(params.width);
  ${store(plan, resultsOf(problem, 'row'), `rstd * (${g} - g_mean - ${h} * gh_mean)`, 'dy', pending ? ` + pending${early ? '_cached[k]' : '[i]'}` : '')}`,
      after: columns ? `{ let base = 0u; ${eachColumn(plan, columnSums(groups))} }` : '',
      cost: backwardCost(problem, rows, columns),
      workspace: groups > 1 ? { partials: { elements: groups * 2 * width } } : {},
    },
    device,
  );
  if (groups > 1) launches.push(addBlocks(groups, width, device));
  return inF16(launches, f16OfBackward(problem));
}

/** WGSL: what a workgroup's rows add to the gradients of weight and bias, as `addBlocks` reads it. */
const columnSums = (groups: number): string =>
  groups > 1
    ? 'let place = group * 2u * params.columns + c; partials[place] = dweight_cached[k]; partials[place + params.columns] = dbias_cached[k];'
    : 'dweight[c] = dweight_cached[k]; dbias[c] = dbias_cached[k];';
