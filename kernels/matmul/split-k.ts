import { ceilDiv } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { bind } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { choose } from '../lib/variant.ts';
import type { Variant } from '../lib/variant.ts';
import { reduce } from '../reduce/index.ts';
import { tiling } from './problem.ts';
import type { MatmulProblem } from './problem.ts';
import { ProductPlan } from './product-plan.ts';
import { BUSY_INVOCATIONS, invocations, SMALL_TILE } from '../lib/product-tile.ts';

/*
 * Split K: the sum over k is taken in parts, as a batch of products, and the partial results are added in f32. For the
 * gradients of weights on GPUs, which are few results of long sums: without it, most of the device would be idle.
 */

/** Shortest part that is worth a workgroup of its own. */
const LEAST_DEPTH = 256;
/** Steps of k that a part is a multiple of: whole blocks of the kernels. */
const STEPS = 32;

/** Whether it can be done: one matrix in one launch, in f32, and nothing comes after the sum. */
const canBeSplit = ({ problem: { batch = [], epilogue = {}, rowSums, f16 }, single }: ProductPlan): boolean =>
  single !== null &&
  !rowSums &&
  !f16?.includes('y') &&
  batch.every((axis) => axis.size <= 1) &&
  !Object.values(epilogue).includes(true);

/** In how many parts the sum is best taken; 1 for no gain. */
function bestParts(problem: MatmulProblem): number {
  const { tiles } = tiling(problem, SMALL_TILE, SMALL_TILE);
  return Math.max(
    1,
    Math.min(ceilDiv(BUSY_INVOCATIONS, tiles * invocations(SMALL_TILE)), Math.floor(problem.k / LEAST_DEPTH)),
  );
}

/** The variant in as many parts as `partsOf` makes of the best number; the products are computed by one of `variants`. */
const splitInto = (
  name: string,
  partsOf: (best: number) => number,
  variants: readonly Variant<ProductPlan>[],
): Variant<ProductPlan> => ({
  name,
  fits: (plan, device) => {
    if (!canBeSplit(plan)) return false;
    const { m, n, k } = plan.problem;
    const parts = partsOf(bestParts(plan.problem));
    // Partial results are bound whole.
    return parts > 1 && parts * 2 * STEPS <= k && 4 * parts * m * n <= device.maxBindingSize;
  },
  use: (_plan, device) => (device.cpu ? 'named' : name === 'split_k' ? 'default' : 'tuned'),
  launches: ({ problem }, device) => split(problem, partsOf(bestParts(problem)), variants, device),
});

export const splitK = (variants: readonly Variant<ProductPlan>[]): Variant<ProductPlan>[] => [
  splitInto('split_k', (best) => best, variants),
  splitInto('split_k_half', (best) => best >> 1, variants),
  splitInto('split_k_double', (best) => 2 * best, variants),
  splitInto('split_k_4', () => 4, variants),
];

function split(
  problem: MatmulProblem,
  parts: number,
  variants: readonly Variant<ProductPlan>[],
  device: DeviceProfile,
): Launch[] {
  const { m, n, k, a, b } = problem;
  const depth = ceilDiv(ceilDiv(k, parts), STEPS) * STEPS;
  const whole = Math.floor(k / depth);
  const rest = k - whole * depth;
  const count = whole + Math.min(rest, 1);
  const stepA = a.transposed ? a.ld : 1;
  const stepB = b.transposed ? 1 : b.ld;
  const from = (offset = 0, step: number): number => offset + whole * depth * step;
  const axis = { size: whole, a: depth * stepA, b: depth * stepB, y: m * n };
  const products: MatmulProblem[] = [{ ...problem, k: depth, y: { ld: n }, batch: [axis] }];
  if (rest > 0) {
    products.push({
      ...problem,
      k: rest,
      a: { ...a, offset: from(a.offset, stepA) },
      b: { ...b, offset: from(b.offset, stepB) },
      y: { ld: n, offset: whole * m * n },
    });
  }
  const launches = products.flatMap((product) => {
    const plan = new ProductPlan(product, device);
    return choose(variants, plan, device).launches(plan, device);
  });
  return [
    ...bind(launches, { y: 'partials' }, { partials: { elements: count * m * n } }),
    ...bind(reduce({ op: 'sum', outer: 1, reduce: count, inner: m * n }, device), { x: 'partials' }),
  ];
}
