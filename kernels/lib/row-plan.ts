import { ceilDiv } from './device.ts';
import type { DeviceProfile } from './device.ts';
import type { Launch } from './kernel.ts';
import type { Use, Variant } from './variant.ts';

/*
 * Who works on a row, in kernels that reduce over rows (softmax, layer norm, losses). A row is `width` elements, `inner`
 * apart: the tensor is [outer, width, inner] and has outer * inner rows. Contiguous rows of a multiple of four elements are
 * read as vec4f. The variants, in order of preference:
 *
 *     cached       a software adapter: one subgroup per row, row after row, each of them kept in private arrays
 *     subgroup     one subgroup per row, results shared by subgroup operations
 *     workgroup    one workgroup per row, results shared through workgroup memory: where subgroups have no fixed size
 *     invocation   one invocation per row: for rows that are not contiguous, or too long for a processor's lanes to keep
 *
 * A lane may cache its part of a row, so that each element is loaded once. On a GPU that is a few registers. On a processor
 * it pays twofold. An element that each lane loads for itself costs ten instructions and a branch there, so a long loop of
 * loads must not be unrolled; and what lies in a private array that such a loop indexes stays in memory, where straight
 * arithmetic reads it as cheaply as a register, and the compiler has little to do.
 *
 * Rows of no multiple of four elements do not start at vectors, which two of them may share; four rows together do. A
 * processor still reads and writes vectors where rows are `unaligned`: what a vector holds of other rows is masked when read
 * (`own`), and carried over to the next row when written, so that only whole vectors are stored, each by one lane. All of
 * it is straight code, with two thirds of the instructions of single elements and three times their compile time.
 */

export interface RowShape {
  /** Contiguous slices of width * inner elements. */
  readonly outer: number;
  readonly width: number;
  /** Distance between the elements of a row; 1 if rows are contiguous. */
  readonly inner: number;
}

export interface RowPlan {
  /** Who shares a row: the lanes of a subgroup, of a workgroup, or nobody. */
  readonly sharing: 'subgroup' | 'workgroup' | 'invocation';
  /** Invocations that share a row. */
  readonly lanes: number;
  /** Elements of one load. */
  readonly vector: 1 | 4;
  /** Loads a lane, if it keeps them, in arrays indexed by `k`; else 0. */
  readonly cached: number;
  /** Rows of a workgroup, one after another, where lanes keep what is the same for all rows (`perColumn`); else 0. */
  readonly rowsPerWorkgroup: number;
  /** Whether loads and stores are straight code, one after the other, and no loops. */
  readonly straight: boolean;
  /** Loads of the row; of an unaligned one, the most. */
  readonly columns: number;
  /** Whether rows begin and end within vectors. */
  readonly unaligned: boolean;
}

/**
 * Whether lanes cache their parts of a row if they can: on all devices, on processors alone, or, in a kernel that masks with
 * `own`, of unaligned rows too.
 */
export type Caching = boolean | 'cpu' | 'unaligned';

/** Invocations of a workgroup that shares a row, and rows of one on a GPU where nobody shares them. */
export const WORKGROUP = 64;
/** Most loads that a lane of a GPU caches: they are registers. */
const MAX_CACHED = 32;
/** Most elements that a lane of a processor caches: the arithmetic on them is unrolled. */
const MAX_CACHED_CPU = 96;
/** Most loads, or stores, that are straight code. */
export const MAX_STRAIGHT = 8;
/**
 * Rows of a processor's workgroup, in fours: few enough to keep many cores busy, enough to make up for what comes before
 * the first.
 */
const [MIN_ROWS, MAX_ROWS, CPU_WORKGROUPS] = [8, 32, 64];

/** Narrowest unaligned row: its first and its last vector are two. */
const MIN_UNALIGNED = 16;

const isVector = ({ width, inner }: RowShape): boolean => inner === 1 && width % 4 === 0;

/** The plan of the variant `cached`, or null where it does not fit. */
function planCached(shape: RowShape, device: DeviceProfile, caching: Caching): RowPlan | null {
  const { outer, width, inner } = shape;
  const lanes = device.subgroupSize;
  if (!device.cpu || lanes === 0 || inner > 1 || caching === false) return null;
  const most = ceilDiv(width + 3, 4);
  const unaligned =
    caching === 'unaligned' && width % 4 !== 0 && width >= MIN_UNALIGNED && ceilDiv(most, lanes) <= MAX_STRAIGHT;
  const vector = unaligned || isVector(shape) ? 4 : 1;
  const columns = unaligned ? most : width / vector;
  const cached = ceilDiv(columns, lanes);
  if (cached * vector > MAX_CACHED_CPU) return null;
  const rowsPerWorkgroup = Math.min(MAX_ROWS, Math.max(MIN_ROWS, 4 * ceilDiv(outer, 4 * CPU_WORKGROUPS)));
  return { sharing: 'subgroup', lanes, vector, cached, rowsPerWorkgroup, straight: unaligned, columns, unaligned };
}

/** The plan of one of the other variants, or null where it does not fit. */
function planShared(
  sharing: RowPlan['sharing'],
  shape: RowShape,
  device: DeviceProfile,
  caching: Caching,
): RowPlan | null {
  const lanes = { subgroup: device.subgroupSize, workgroup: WORKGROUP, invocation: 1 }[sharing];
  if (lanes === 0 || (shape.inner > 1 && lanes > 1)) return null;
  const vector = isVector(shape) ? 4 : 1;
  const columns = shape.width / vector;
  const loads = ceilDiv(columns, lanes);
  const cached = caching !== false && caching !== 'cpu' && !device.cpu && lanes > 1 && loads <= MAX_CACHED ? loads : 0;
  return { sharing, lanes, vector, cached, rowsPerWorkgroup: 0, straight: false, columns, unaligned: false };
}

/** Workgroups of a GPU that take row after row: a few for each scheduler of a large one; and their fewest rows. */
const [GPU_WORKGROUPS, FEWEST_ROWS] = [2048, 8];

/**
 * The plan as one whose workgroups take row after row, to sum over rows on the way: what a lane keeps of a row and of the sums
 * are registers. Null where that is too much. A processor's cached rows are such as they are.
 */
export function rowAfterRow(plan: RowPlan, rows: number, device: DeviceProfile): RowPlan | null {
  if (plan.rowsPerWorkgroup > 0) return plan;
  const cached = ceilDiv(plan.columns, plan.lanes);
  if (device.cpu || plan.lanes === 1 || cached > MAX_STRAIGHT) return null;
  return { ...plan, cached, straight: true, rowsPerWorkgroup: Math.max(FEWEST_ROWS, ceilDiv(rows, GPU_WORKGROUPS)) };
}

interface RowVariant {
  readonly name: string;
  /** Null where it does not fit. */
  readonly plan: (shape: RowShape, device: DeviceProfile, caching: Caching) => RowPlan | null;
  readonly use: (shape: RowShape, device: DeviceProfile) => Use;
}

const shared = (sharing: RowPlan['sharing'], use: RowVariant['use'] = () => 'default'): RowVariant => ({
  name: sharing,
  plan: (shape, device, caching) => planShared(sharing, shape, device, caching),
  use,
});

const VARIANTS: readonly RowVariant[] = [
  { name: 'cached', plan: planCached, use: () => 'default' },
  // A processor's lane loads a vec4f at once from anywhere, so nothing is gained by sharing a row that is not cached; with
  // scalar loads, the operations between them are better spread over lanes.
  shared('subgroup', (shape, device) => (device.cpu && isVector(shape) ? 'tuned' : 'default')),
  shared('workgroup', (_shape, device) => (device.cpu ? 'named' : 'default')),
  shared('invocation'),
];

/** The variants of a kernel over rows, from the shape of its problem and the launches of a plan. */
export const rowVariants = <Problem>(
  shapeOf: (problem: Problem) => RowShape,
  caching: Caching,
  launches: (problem: Problem, plan: RowPlan, device: DeviceProfile) => Launch[],
): Variant<Problem>[] =>
  VARIANTS.map(({ name, plan, use }) => ({
    name,
    fits: (problem, device) => plan(shapeOf(problem), device, caching) !== null,
    use: (problem, device) => use(shapeOf(problem), device),
    launches: (problem, device) => launches(problem, plan(shapeOf(problem), device, caching)!, device),
  }));
