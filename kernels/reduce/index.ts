/**
 * y[o, i] = sum or maximum over r of x[o, r, i], for x [outer, reduce, inner] in f32; a sum is divided by `divisor`.
 *
 * Every reduction over dimensions is a sequence of these. Sums are taken in blocks (of 16 loads, then of a segment, then
 * over segments), so that rounding errors grow with the block and not with the length; the order of additions depends
 * on problem and device alone. The maximum works on bit patterns in an order that puts NaN above everything, so that
 * it comes out as in PyTorch's amax, and in a subgroup too.
 *
 * Where there are few results for long sums, `reduce` is cut into segments, one more stage sums those, and so on; the
 * partial results live in scratch memory, `partial0` and `partial1`. A variant names the access of the first stage, which
 * reads x; each later stage takes the first access that fits.
 *
 * Gradients are in backward.ts. Cost: one FLOP per element, which is read once. `deit kernel sum` and `deit kernel amax` show the kernels.
 */
import { BINDING_ALIGNMENT, ceilDiv } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { DeitError } from '../lib/errors.ts';
import { bind, require } from '../lib/kernel.ts';
import type { Kernel, Launch } from '../lib/kernel.ts';
import { plain } from '../lib/plain.ts';
import { choose, kernelOf } from '../lib/variant.ts';
import type { Variant } from '../lib/variant.ts';
import { LONGEST_PLAIN, reducePlain } from './plain.ts';
import { row } from './row.ts';
import { along, columns, strided } from './serial.ts';
import { stageBytes } from './stage.ts';
import type { Access, ReduceProblem, Stage } from './stage.ts';

export { spread, tieGradient, tieMask } from './backward.ts';
export type { ReduceProblem } from './stage.ts';

/** Most loads of one invocation, and least: a segment is that long. */
const LONGEST = 512;
const SHORTEST = 16;

/** Fewest rows of so many bytes that end at an aligned offset. */
function alignedRows(bytes: number): number {
  let rows = 1;
  while ((rows * bytes) % BINDING_ALIGNMENT !== 0) rows *= 2;
  return rows;
}

/** Even single rows of it cannot be bound at offsets that are aligned. */
const tooLarge = (bytes: number, device: DeviceProfile): DeitError =>
  new DeitError('limit-exceeded', 'A tensor is too large to be reduced with the bindings of this device.', {
    where: 'kernel reduce',
    expected: `at most ${device.maxBindingSize} bytes`,
    found: `${bytes} bytes`,
    fix: 'use a smaller batch',
  });

/** In order of preference. */
const ACCESSES: readonly Access[] = [row, columns, along, strided];

/** The stages of a reduction whose first is of this access; the others are of the first that fits. */
function stagesOf(problem: ReduceProblem, first: Access, device: DeviceProfile): Stage[] {
  const { op, outer, inner } = problem;
  const stages: Stage[] = [];
  let reduce = problem.reduce;
  do {
    const own = { op, outer, reduce, inner, f16: problem.f16 && stages.length === 0 };
    const bytes = stageBytes(own);
    const oversize = bytes > device.maxBindingSize;
    const access = stages.length === 0 ? first : choose(ACCESSES, own, device);
    const load = access.load(device);
    const results = (outer * inner) / access.results;
    const parallel = (device.cpu ? 256 : 16_384) / access.lanes(device);
    const loads = ceilDiv(reduce, load);
    let wanted = Math.max(ceilDiv(loads, LONGEST), Math.min(ceilDiv(parallel, results), ceilDiv(loads, SHORTEST)));
    // One outer index whose bytes exceed a binding is split between segments, at offsets that are aligned on both sides.
    if (oversize && outer === 1)
      wanted = Math.max(wanted, ceilDiv(2 * bytes * alignedRows(inner * (own.f16 ? 2 : 4)), device.maxBindingSize));
    const segment = ceilDiv(ceilDiv(reduce, wanted), load) * load;
    const segments = ceilDiv(reduce, segment);
    if (oversize && segments === reduce && reduce > 1) throw tooLarge(bytes, device);
    stages.push({ access, outer, reduce, inner, segment, segments });
    reduce = segments;
  } while (reduce > 1);
  return stages;
}

/** Stages take turns with two tensors of partial results; the first stage of each has the most. */
const partialResults = ({ outer, segments, inner }: Stage, name: string) => ({
  [name]: { elements: outer * segments * inner },
});

const bytesOf = ({ outer, reduce: length, inner }: ReduceProblem): number => 4 * outer * length * inner;

function checked(problem: ReduceProblem): ReduceProblem {
  const { op, outer, reduce: length, inner, f16 = false } = problem;
  require(!f16 || op === 'sum', op, 'sums, if x is f16', problem);
  require(length > 0 && outer > 0 && inner > 0, op, 'no empty dimension', problem);
  return problem;
}

function inStages(problem: ReduceProblem, first: Access, device: DeviceProfile): Launch[] {
  const { op, divisor = 1, f16 = false } = problem;
  const stages = stagesOf(problem, first, device);
  return stages.flatMap((stage, i) => {
    const from = i === 0 ? 'x' : `partial${(i - 1) % 2}`;
    const last = i === stages.length - 1;
    const to = last ? 'y' : `partial${i % 2}`;
    const finish = last && op === 'sum';
    const launches = stage.access.launches(op, stage, { from, to, f16: f16 && i === 0 }, finish ? divisor : 1, device);
    return last ? launches : bind(launches, {}, partialResults(stages[i % 2], to));
  });
}

/** Bindings x and y. */
export const reduce = kernelOf<ReduceProblem>('reduce', checked, [
  ...ACCESSES.map((access): Variant<ReduceProblem> => ({
    name: access.name,
    fits: access.fits,
    use: access.use,
    launches: (problem, device) => inStages(problem, access, device),
  })),
  {
    ...plain(bytesOf, reducePlain),
    // Longer sums would drift.
    fits: (problem, device) => problem.reduce <= LONGEST_PLAIN && bytesOf(problem) <= device.maxBindingSize,
  },
]);

export interface ColumnSumProblem {
  rows: number;
  columns: number;
  /** x is f16 in memory. */
  f16?: boolean;
}

const asReduce = ({ rows, columns, f16 }: ColumnSumProblem): ReduceProblem => ({
  op: 'sum',
  outer: 1,
  reduce: rows,
  inner: columns,
  f16,
});

/** y [columns] = the sum over the rows of x [rows, columns]: bias gradients. Bindings x and y. */
export const columnSum: Kernel<ColumnSumProblem> = (problem, device) => reduce(asReduce(problem), device);
