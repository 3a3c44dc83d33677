import type { DeviceProfile } from '../lib/device.ts';
import { inHalf } from '../lib/f16-storage.ts';
import { f32, input, output, require } from '../lib/kernel.ts';
import type { Binding, Kernel } from '../lib/kernel.ts';
import { addBlocks } from './columns.ts';
import type { LayerNormBackwardProblem, LayerNormProblem } from './problem.ts';
import {
  columnOf,
  declareHeld,
  eachColumn,
  eachHeld,
  eachLoad,
  hold,
  planRows,
  rowKernel,
  store,
  valueOf,
  workgroupsOf,
} from '../lib/rows.ts';
import type { RowPlan, RowShape } from '../lib/rows.ts';

interface Layout {
  readonly shape: RowShape;
  readonly plan: RowPlan;
  readonly element: string;
  readonly rowBytes: number;
}

function layout({ rows, width }: { rows: number; width: number }, device: DeviceProfile, kernel: string): Layout {
  require(rows > 0 && width > 0, kernel, 'sizes of at least 1', [rows, width]);
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device, device.cpu);
  return { shape, plan, element: plan.vector === 4 ? 'vec4f' : 'f32', rowBytes: width * 4 };
}

/** Bindings: x; weight and bias if the problem has them; y; stats (vec2f). */
export const layerNormForward: Kernel<LayerNormProblem> = (problem, device) => {
  const { rows, width, eps, weight, bias, half } = problem;
  const name = 'layer_norm.forward';
  const { shape, plan, element, rowBytes } = layout(problem, device, name);
  const x = valueOf(plan, 'x');
  const bindings: Binding[] = [input('x', element), output('y', element), output('stats', 'vec2f')];
  if (weight) bindings.push(input('weight', element));
  if (bias) bindings.push(input('bias', element));
  const launches = rowKernel(
    {
      name,
      shape,
      plan,
      bindings,
      bytesPerSlice: { x: rowBytes, y: half ? rowBytes / 2 : rowBytes, stats: 8 },
      perColumn: [...(weight ? ['weight'] : []), ...(bias ? ['bias'] : [])],
      uniforms: { eps: f32(eps) },
      body: /* wgsl */ `
  ${declareHeld(plan, 'x')}
  var part = V(0);
  ${eachLoad(plan, `let value = x[i];  ${hold(plan, 'x', 'value')} part += value;`)}
  let mean = row_sum(part) / f32(params.width);
  part = V(0);
  ${eachHeld(plan, `let d = ${x} - mean; part += d * d;`)}
  let rstd = 1.0 / sqrt(row_sum(part) / f32(params.width) + params.eps);
  ${store(
    plan,
    ['y'],
    `(${x} - mean) * rstd${weight ? ` * ${columnOf(plan, 'weight')}` : ''}${bias ? ` + ${columnOf(plan, 'bias')}` : ''}`,
    'x',
  )}
  if (lane == 0u) { stats[row] = vec2f(mean, rstd); }`,
      cost: { flops: 8 * rows * width, bytes: (half ? 6 : 8) * rows * width },
    },
    device,
  );
  return inHalf(launches, half ? ['y'] : undefined);
};

/** Whether backward can sum the gradients of weight and bias on the way. */
export function layerNormSumsColumns(problem: LayerNormBackwardProblem, device: DeviceProfile): boolean {
  const { plan, shape, rowBytes } = layout(problem, device, 'layer_norm.backward');
  return plan.turns > 0 && shape.outer * rowBytes <= device.maxBindingSize;
}

/** Elements of the scratch binding `partials` of a backward kernel that sums columns; 0 if it needs none. */
export function layerNormBackwardPartials(problem: LayerNormBackwardProblem, device: DeviceProfile): number {
  const groups = workgroupsOf(layout(problem, device, 'layer_norm.backward').plan, problem.rows);
  return groups > 1 ? groups * 2 * problem.width : 0;
}

/**
 * Bindings: x, stats (vec2f), dy, dx; weight, pending and rounded if the problem has them; with `columns` dweight and dbias,
 * and partials if `layerNormBackwardPartials` is not 0.
 */
export const layerNormBackward: Kernel<LayerNormBackwardProblem> = (problem, device) => {
  const { rows, width, weight, pending, columns = false, half, rounded } = problem;
  const name = `layer_norm.backward${pending ? '_add' : ''}${columns ? '_columns' : ''}`;
  const { shape, plan, element, rowBytes } = layout(problem, device, name);
  require(!columns || layerNormSumsColumns(problem, device), name, 'rows that lanes keep, in one launch', problem);
  const bindings = [input('x', element), input('dy', element), input('stats', 'vec2f'), output('dx', element)];
  if (weight) bindings.push(input('weight', element));
  if (pending) bindings.push(input('pending', element));
  if (rounded) bindings.push(output('rounded', element));
  const groups = columns ? workgroupsOf(plan, rows) : 1;
  if (columns && groups > 1) bindings.push(output('partials', element));
  else if (columns) bindings.push(output('dweight', element), output('dbias', element));
  const [x, dy] = [valueOf(plan, 'x'), valueOf(plan, 'dy')];
  const g = `${dy}${weight ? ` * ${columnOf(plan, 'weight')}` : ''}`;
  const h = plan.held > 0 ? x : '(x[i] - mean) * rstd';
  const launches = rowKernel(
    {
      name,
      shape,
      plan,
      bindings,
      perColumn: weight ? ['weight'] : [],
      bytesPerSlice: {
        x: rowBytes,
        dy: half ? rowBytes / 2 : rowBytes,
        dx: rowBytes,
        stats: 8,
        ...(pending ? { pending: rowBytes } : {}),
        ...(rounded ? { rounded: rowBytes / 2 } : {}),
      },
      before: columns ? `var dweight_held: array<V, ${plan.held}>; var dbias_held: array<V, ${plan.held}>;` : '',
      body: /* wgsl */ `
  let mean = stats[row].x;
  let rstd = stats[row].y;
  ${declareHeld(plan, 'x')}
  ${declareHeld(plan, 'dy')}
  ${plan.held > 0 ? eachColumn(plan, 'x_held[k] = x[i]; dy_held[k] = dy[i];') : ''}
  var part = V(0);
  var part_h = V(0);
  ${eachHeld(
    plan,
    /* wgsl */ `
    let h = (${x} - mean) * rstd; ${hold(plan, 'x', 'h')}
    ${columns ? `dweight_held[k] += ${dy} * h; dbias_held[k] += ${dy};` : ''}
    let g = ${g}; part += g; part_h += g * h;`,
  )}
  let g_mean = row_sum(part) / f32(params.width);
  let gh_mean = row_sum(part_h) / f32(params.width);
  ${store(plan, rounded ? ['dx', 'rounded'] : ['dx'], `rstd * (${g} - g_mean - ${h} * gh_mean)`, 'dy', pending ? ' + pending[i]' : '')}`,
      after: columns ? `{ let base = 0u; ${eachColumn(plan, columnSums(groups))} }` : '',
      cost: {
        flops: (columns ? 15 : 12) * rows * width,
        bytes: ((pending ? 16 : 12) - (half ? 2 : 0) + (rounded ? 2 : 0)) * rows * width,
      },
    },
    device,
  );
  if (groups > 1) launches.push(addBlocks(groups, width, device));
  return inHalf(launches, [...(half ? ['dy'] : []), ...(rounded ? ['rounded'] : [])]);
};

/** WGSL: what a workgroup's rows add to the gradients of weight and bias, as `addBlocks` reads it. */
const columnSums = (groups: number): string =>
  groups > 1
    ? 'let place = group * 2u * params.columns + c; partials[place] = dweight_held[k]; partials[place + params.columns] = dbias_held[k];'
    : 'dweight[c] = dweight_held[k]; dbias[c] = dbias_held[k];';
