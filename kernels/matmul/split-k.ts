import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { bind, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { BUSY_INVOCATIONS, invocations, SMALL_TILE } from '../lib/product-tile.ts';
import { choose } from '../lib/variant.ts';
import type { Variant } from '../lib/variant.ts';
import { tiling } from './problem.ts';
import type { MatmulProblem, TiledProblem } from './problem.ts';
import type { ProductPlan } from './product-plan.ts';

/*
 * Split K, for GPUs: the sum over k is taken in parts, by one launch of tiles, and another one adds the partial results in f32.
 * For the gradients of weights, which are few results of long sums: without it, most of the device would be idle.
 */

/** Shortest part that is worth a workgroup of its own. */
const LEAST_DEPTH = 256;
/** Steps of k that a part is a multiple of: whole blocks of the kernels. */
const STEPS = 32;

/** Whether it can be done: one matrix in one launch, in f32, and nothing comes after the sum. */
const canBeSplit = ({ problem: { batch = [], epilogue = {}, f16 }, single }: ProductPlan): boolean =>
  single !== null &&
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

/** The variant in as many parts as `partsOf` makes of the best number; the products are computed by one of `tiles`. */
const splitInto = (
  name: string,
  partsOf: (best: number) => number,
  tiles: readonly Variant<TiledProblem>[],
): Variant<ProductPlan> => ({
  name,
  fits: (plan, device) => {
    // Tiles are not for processors.
    if (device.cpu || !canBeSplit(plan)) return false;
    const { m, n, k } = plan.problem;
    const parts = partsOf(bestParts(plan.problem));
    // Partial results are bound whole.
    return parts > 1 && parts * 2 * STEPS <= k && 4 * parts * m * n <= device.maxBindingSize;
  },
  use: () => (name === 'split_k' ? 'default' : 'tuned'),
  launches: ({ problem }, device) => split(problem, partsOf(bestParts(problem)), tiles, device),
});

export const splitK = (tiles: readonly Variant<TiledProblem>[]): Variant<ProductPlan>[] => [
  splitInto('split_k', (best) => best, tiles),
  splitInto('split_k_half', (best) => best >> 1, tiles),
  splitInto('split_k_double', (best) => 2 * best, tiles),
  splitInto('split_k_4', () => 4, tiles),
];

function split(
  problem: MatmulProblem,
  wanted: number,
  tiles: readonly Variant<TiledProblem>[],
  device: DeviceProfile,
): Launch[] {
  const { m, n, k, a, b, rowSums = false, f16 } = problem;
  const part = ceilDiv(ceilDiv(k, wanted), STEPS) * STEPS;
  const parts = ceilDiv(k, part);
  const axis = { size: parts, a: part * (a.transposed ? a.ld : 1), b: part * (b.transposed ? 1 : b.ld), y: m * n };
  const cut: TiledProblem = { ...problem, y: { ld: n }, batch: [axis], part };
  const products = inF16(choose(tiles, cut, device).launches(cut, device), f16);
  return [
    ...bind(
      products,
      { y: 'partials', row_sums: 'partial_sums' },
      { partials: { elements: parts * m * n }, ...(rowSums && { partial_sums: { elements: parts * m } }) },
    ),
    total(problem, parts, device),
  ];
}

const WORKGROUP = 64;
/** Partial results that an invocation adds, where there are not too many for a workgroup. */
const FEW = 8;
/** Most invocations that add those of one result. */
const MOST_SLICES = 16;

/** Adds the partial results, and those of row sums after them, in an order that depends on the number of parts alone. */
function total({ m, n, rowSums = false }: MatmulProblem, parts: number, device: DeviceProfile): Launch {
  const width = (rowSums ? m : m * n) % 4 === 0 ? 4 : 1;
  const element = width === 4 ? 'vec4f' : 'f32';
  let slices = 1;
  while (slices < MOST_SLICES && FEW * slices < parts) slices *= 2;
  // Neighbours add neighbouring results, and then come the slices of these.
  const own = WORKGROUP / slices;
  const [results, sums] = [(m * n) / width, rowSums ? m / width : 0];
  const [groups, groupsOfSums] = [ceilDiv(results, own), ceilDiv(sums, own)];
  /** For a workgroup of results, or of row sums. */
  const either = (text: (from: string, to: string, size: string) => string): string => {
    const ofResults = text('partials', 'y', 'params.results');
    const ofSums = text('partial_sums', 'row_sums', 'params.sums');
    return rowSums ? `if (number < params.groups) { ${ofResults} } else { ${ofSums} }` : ofResults;
  };
  return launch({
    name: `matmul.split_k/total_${slices}`,
    bindings: [
      input('partials', element),
      output('y', element),
      ...(rowSums ? [input('partial_sums', element), output('row_sums', element)] : []),
    ],
    uniforms: { parts: u32(parts), results: u32(results), sums: u32(sums), groups: u32(groups) },
    wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
var<workgroup> totals: array<${element}, ${WORKGROUP}>;
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let number = linear_workgroup(workgroup, workgroups);
  let slice = lane / ${own}u;
  ${rowSums ? 'let first = select(number - params.groups, number, number < params.groups);' : 'let first = number;'}
  let i = first * ${own}u + lane % ${own}u;
  var total = ${element}();
  ${either(
    (from, _to, size) => /* wgsl */ `
  if (i < ${size}) {
    for (var part = slice; part < params.parts; part += ${slices}u) { total += ${from}[part * ${size} + i]; }
  }`,
  )}
  totals[lane] = total;
  workgroupBarrier();
  if (slice != 0u) { return; }
  for (var s = 1u; s < ${slices}u; s++) { total += totals[lane + s * ${own}u]; }
  ${either((_from, to, size) => `if (i < ${size}) { ${to}[i] = total; }`)}
}`,
    grid: foldGrid(groups + groupsOfSums, device),
    cost: { flops: parts * (m * n + sums * width), bytes: 4 * (parts + 1) * (m * n + sums * width) },
  });
}
