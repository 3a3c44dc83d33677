import type { DeviceProfile } from '../lib/device.ts';
import { bytesOfElement } from '../lib/f16-storage.ts';
import { splitRows } from '../lib/kernel.ts';
import { checkMatmul, packedProblem } from './problem.ts';
import type { BatchAxis, MatmulProblem, Packed } from './problem.ts';

/**
 * A product as its variants see it: the problem, and the launches that it takes. All variants of a product share one plan, and
 * the plans of the products that some of them turn it into.
 */
export class ProductPlan {
  /** Problems of at most two batch axes, each for one launch, to be run one after the other. */
  readonly parts: readonly MatmulProblem[];
  private readonly afterPacking = new Map<Packed, ProductPlan>();

  constructor(
    readonly problem: MatmulProblem,
    readonly device: DeviceProfile,
  ) {
    checkMatmul(problem);
    this.parts = planLaunches(problem, device);
  }

  /** The problem that its one launch sees, or null if there are several. */
  get single(): MatmulProblem | null {
    return this.parts.length === 1 ? this.parts[0] : null;
  }

  /** The product that is left once operands are packed. */
  packed(operands: Packed): ProductPlan {
    let plan = this.afterPacking.get(operands);
    if (!plan) {
      plan = new ProductPlan(packedProblem(this.problem, operands), this.device);
      this.afterPacking.set(operands, plan);
    }
    return plan;
  }
}

/**
 * A problem with any number of batch axes as problems with at most two each, to be run one after the other. Axes are
 * merged with each other, or into m or k, where the strides allow; axes to be summed over become additions to y. One matrix
 * that exceeds the device's bindings is cut along its stored rows.
 */
const planLaunches = (problem: MatmulProblem, device: DeviceProfile): MatmulProblem[] =>
  planBatch(problem).flatMap((part) => planBindings(part, device));

function planBindings(problem: MatmulProblem, device: DeviceProfile): MatmulProblem[] {
  const { m, k, a, b, y, batch = [], epilogue = {}, rowSums = false, f16 } = problem;
  const of = (name: string, elements: number): number => bytesOfElement(f16, name) * elements;
  if (batch.length > 0 || a.offset || b.offset || y.offset) return [problem];
  if (!a.transposed) {
    const bytes: Record<string, number> = { a: of('a', a.ld), y: of('y', y.ld) };
    if (epilogue.rowScale) bytes.row_scale = 4;
    if (epilogue.residual) bytes.residual = of('residual', y.ld);
    if (epilogue.geluGradient) bytes.pre = of('pre', y.ld);
    if (epilogue.gelu) bytes.activated = of('activated', y.ld);
    if (rowSums) bytes.row_sums = 4;
    return splitRows(m, bytes, device, 'matmul').map(({ rows, ranges }) => ({ ...problem, m: rows, ranges }));
  }
  if (b.transposed || Object.values(epilogue).includes(true)) return [problem];
  return splitRows(k, { a: of('a', a.ld), b: of('b', b.ld) }, device, 'matmul').map(({ rows, ranges }, i) => ({
    ...problem,
    k: rows,
    ranges,
    epilogue: i === 0 ? epilogue : { ...epilogue, accumulate: true },
  }));
}

function planBatch(problem: MatmulProblem): MatmulProblem[] {
  let { m, k } = problem;
  const { a, b, y } = problem;
  let axes = (problem.batch ?? []).filter((axis) => axis.size > 1);
  const rowsFollow = (axis: BatchAxis): boolean =>
    !a.transposed && axis.b === 0 && axis.a === m * a.ld && axis.y === m * y.ld;
  const sumFollows = (axis: BatchAxis): boolean =>
    a.transposed && !b.transposed && axis.y === 0 && axis.a === k * a.ld && axis.b === k * b.ld;
  for (let axis = axes.at(-1); axis; axis = axes.at(-1)) {
    if (rowsFollow(axis)) m *= axis.size;
    else if (sumFollows(axis)) k *= axis.size;
    else break;
    axes = axes.slice(0, -1);
  }
  const free = mergeAxes(axes.filter((axis) => axis.y !== 0));
  const summed = axes.filter((axis) => axis.y === 0);
  const looped = [...free.slice(0, -2), ...summed];
  const inDispatch = free.slice(-2);
  const summands = summed.reduce((product, axis) => product * axis.size, 1);
  return offsetsOf(looped).map((at, i) => ({
    ...problem,
    m,
    k,
    a: { ...a, offset: (a.offset ?? 0) + at.a },
    b: { ...b, offset: (b.offset ?? 0) + at.b },
    y: { ...y, offset: (y.offset ?? 0) + at.y },
    batch: inDispatch,
    epilogue: i % summands === 0 ? problem.epilogue : { ...problem.epilogue, accumulate: true },
  }));
}

/** Joins neighbouring axes that step like one. */
function mergeAxes(axes: readonly BatchAxis[]): BatchAxis[] {
  const merged: BatchAxis[] = [];
  for (const axis of axes) {
    const outer = merged.at(-1);
    const joins = (['a', 'b', 'y'] as const).every((key) => outer?.[key] === axis[key] * axis.size);
    if (outer && joins) merged[merged.length - 1] = { ...axis, size: outer.size * axis.size };
    else merged.push(axis);
  }
  return merged;
}

/** The offset of every combination of indices, the last axis fastest. */
function offsetsOf(axes: readonly BatchAxis[]): { a: number; b: number; y: number }[] {
  let offsets = [{ a: 0, b: 0, y: 0 }];
  for (const axis of axes) {
    offsets = offsets.flatMap((at) =>
      Array.from({ length: axis.size }, (_, i) => ({
        a: at.a + i * axis.a,
        b: at.b + i * axis.b,
        y: at.y + i * axis.y,
      })),
    );
  }
  return offsets;
}
