import { ceilDiv, hasSubgroups } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { planMatmul } from './batch.ts';
import { laidOperand } from './lay-along-k.ts';
import { tiling } from './problem.ts';
import type { MatmulOperand, MatmulProblem, Variant } from './problem.ts';
import { matmulVariants, variantFor } from './variants.ts';
import { BUSY_WORKGROUPS, SMALL_TILE } from './workgroup.ts';

/**
 * How a product is computed: what its caller does around the kernel (which has no memory of its own), and the variant of
 * the kernel. The name says all of it, for example `laid_b+subgroup_rows` or `parts4`.
 */
export interface ProductForm {
  readonly name: string;
  /** The rows of a are summed by a kernel of their own, where they are asked for. */
  readonly sums?: boolean;
  /** Parts that the sum over k is taken in, to be added afterwards; 1 if left out. */
  readonly parts?: number;
  /** Operands that `layAlongK` lays out anew first. */
  readonly laid?: 'b' | 'ab';
  /** Left to the kernel if undefined. */
  readonly variant?: Variant;
}

function form(parts: Omit<ProductForm, 'name'>): ProductForm {
  const names = [
    parts.sums && 'sums',
    parts.parts && `parts${parts.parts}`,
    parts.laid && `laid_${parts.laid}`,
    parts.variant,
  ];
  return { ...parts, name: names.filter(Boolean).join('+') || 'auto' };
}

/** The problem that is left after operands were laid out anew: rows of a or columns of b, in whole vectors along k. */
export function withLaid(problem: MatmulProblem, laid: 'b' | 'ab'): MatmulProblem {
  const b = laidOperand('b', problem.k);
  return laid === 'b' ? { ...problem, b } : { ...problem, a: laidOperand('a', problem.k), b };
}

/** Whether operands can be laid out anew: each for all batches at once, and a row-major in the end. */
function canBeLaid({ a, b, batch = [] }: MatmulProblem, laid: 'b' | 'ab'): boolean {
  if (b.padded || batch.some((axis) => axis.b !== 0)) return false;
  return laid === 'b' ? !a.transposed : batch.every((axis) => axis.size === 1);
}

/** How often an operand's elements must be loaded again (once a tile) before laying it out anew pays. */
const WORTH_LAYING = 768;

const inVectors = ({ ld, offset = 0 }: MatmulOperand, k: number): boolean =>
  [k, ld, offset].every((size) => size % 4 === 0);

/**
 * Which operands the product is faster with if they are laid out anew, the time that this takes included. `launched` is the
 * problem as its one launch sees it, with batches that are only more rows among the rows.
 */
function preferredLaying(
  problem: MatmulProblem,
  launched: MatmulProblem,
  device: DeviceProfile,
): 'b' | 'ab' | undefined {
  const { a, b, m, n, k } = launched;
  if (!device.cpu || !hasSubgroups(device) || m < WORTH_LAYING) return undefined;
  const laid = a.transposed ? 'ab' : 'b';
  const pays = a.transposed ? n >= WORTH_LAYING : !b.transposed || !inVectors(b, k);
  return pays && canBeLaid(problem, laid) ? laid : undefined;
}

/** Shortest part of a sum over k that is worth a workgroup of its own. */
const LEAST_DEPTH = 256;

/** Whether the sum over k can be taken in parts, which add up in f32: one launch, and nothing comes after the sum. */
const canBeParted = ({ batch = [], epilogue = {}, rowSums, half }: MatmulProblem, isOneLaunch: boolean): boolean =>
  isOneLaunch &&
  !rowSums &&
  !half?.includes('y') &&
  batch.every((axis) => axis.size <= 1) &&
  !Object.values(epilogue).includes(true);

/** In how many parts the sum over k is best taken (the gradients of weights: few results, long sums); 1 for no gain. */
function partsOfSum(problem: MatmulProblem, device: DeviceProfile, isOneLaunch: boolean): number {
  if (device.cpu || !canBeParted(problem, isOneLaunch)) return 1;
  const { tiles } = tiling(problem, SMALL_TILE, SMALL_TILE);
  return Math.max(1, Math.min(ceilDiv(BUSY_WORKGROUPS, tiles), Math.floor(problem.k / LEAST_DEPTH)));
}

/** The one launch that a problem takes, as its variant sees it; null if there are several. */
function oneLaunch(problem: MatmulProblem, device: DeviceProfile): MatmulProblem | null {
  const plan = planMatmul(problem, device);
  return plan.length === 1 ? plan[0] : null;
}

/** The form that a problem takes on a device, if nobody asks for another. */
export function productForm(problem: MatmulProblem, device: DeviceProfile): ProductForm {
  const launched = oneLaunch(problem, device);
  const laid = launched ? preferredLaying(problem, launched, device) : undefined;
  const launchedWith = (own: MatmulProblem) => oneLaunch(laid ? withLaid(own, laid) : own, device);
  const whole = launchedWith(problem);
  // Row sums cost nothing beside the product, but not in every variant.
  const fused = whole !== null && !variantFor(whole, device).startsWith('workgroup');
  const sums = problem.rowSums && !fused ? { sums: true } : {};
  const left = sums.sums ? { ...problem, rowSums: false } : problem;
  const parts = partsOfSum(left, device, launched !== null);
  if (parts > 1) return form({ ...sums, parts });
  const last = launchedWith(left);
  return form({ ...sums, ...(laid && { laid }), ...(last && { variant: variantFor(last, device) }) });
}

/** Every form that gives the product on a device, the usual one first, then likelier winners first. */
export function productForms(problem: MatmulProblem, device: DeviceProfile): ProductForm[] {
  const usual = productForm(problem, device);
  const launched = oneLaunch(problem, device);
  if (!launched) return [usual];
  const left = { ...problem, rowSums: false };
  const sums = problem.rowSums ? { sums: true } : {};
  const variantsOf = (one: MatmulProblem | null): Variant[] => (one ? matmulVariants(one, device) : []);
  const fused = variantsOf(launched).map((variant) => form({ variant }));
  const separate = problem.rowSums
    ? variantsOf({ ...launched, rowSums: false }).map((variant) => form({ ...sums, variant }))
    : [];
  const onLaid = (['b', 'ab'] as const)
    .filter((laid) => device.cpu && canBeLaid(problem, laid))
    .flatMap((laid) =>
      variantsOf(oneLaunch(withLaid(problem, laid), device))
        // The others gain nothing from it.
        .filter((variant) => variant.startsWith('subgroup_rows'))
        .map((variant) => form({ laid, variant })),
    );
  const most = partsOfSum(left, device, true);
  const parted = [...new Set([most, most >> 1, 2 * most, 4])]
    .filter((parts) => !device.cpu && canBeParted(left, true) && parts > 1 && parts * 2 * 16 <= problem.k)
    .map((parts) => form({ ...sums, parts }));
  const others = interleave(fused, onLaid, separate, parted);
  return [usual, ...others.filter(({ name }) => name !== usual.name)];
}

/** The first of each list, then the second of each, and so on. */
function interleave<Item>(...lists: readonly (readonly Item[])[]): Item[] {
  const longest = Math.max(...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1))).flat();
}
