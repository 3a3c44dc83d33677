/**
 * Products of matrices, with what follows them (biases, GELU, a residual) as an epilogue (epilogue.ts):
 *
 *     y[z, i, j] = scale * sum_k a[z, i, k] b[z, k, j] + epilogue, for every batch index z.
 *
 * Every operand is addressed by strides, so that transposes, heads of a fused projection and broadcast batches need no
 * copy: stored rows are `ld` elements apart and have their elements next to each other. The sum over k runs in f32, in
 * an order that depends on the variant but not on timing. Gradients are products again, of transposed operands:
 * da = dy b^T, db = a^T dy. Cost: 2 m n k FLOP a batch index. `deit kernel matmul` shows the kernels. The variants follow,
 * in order of preference.
 */
import { inF16 } from '../lib/f16-storage.ts';
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import type { Variant } from '../lib/variant.ts';
import { general } from './general.ts';
import { packed } from './pack.ts';
import { matmulPlain } from './plain.ts';
import type { MatmulProblem } from './problem.ts';
import { ProductPlan } from './product-plan.ts';
import { splitK } from './split-k.ts';
import { subgroupMatrices } from './subgroup-matrix.ts';
import { subgroupRows } from './subgroup-rows.ts';
import { matmulTuning } from './tuning.ts';
import { workgroup, workgroupLarge } from './workgroup.ts';

export type { BatchAxis, F16Binding, MatmulOperand, MatmulProblem, MatmulTarget } from './problem.ts';
export type { Epilogue } from './epilogue.ts';
export { packAlongK } from './pack.ts';

/** A variant for one launch, for all launches of a product. */
const whole = ({ name, fits, use = () => 'default', launches }: Variant<MatmulProblem>): Variant<ProductPlan> => ({
  name,
  fits: ({ parts }, device) => parts.every((part) => fits(part, device)),
  use: ({ parts }, device) => use(parts[0], device),
  launches: ({ parts, problem }, device) =>
    inF16(
      parts.flatMap((part) => launches(part, device)),
      problem.f16,
    ),
});

const inTiles = [...subgroupMatrices, workgroupLarge, workgroup];
const tiles = inTiles.map(whole);
const rows = whole(subgroupRows());
const otherRows = [8, 4, 6, 2].map((count) => whole(subgroupRows(count)));
const slowest = whole(general);
const inParts = splitK(inTiles);

/** In order of preference. */
const VARIANTS: readonly Variant<ProductPlan>[] = [
  inParts[0],
  packed('ab', rows),
  packed('b', rows),
  ...tiles,
  rows,
  slowest,
  ...otherRows,
  ...inParts.slice(1),
  ...otherRows.flatMap((variant) => [packed('ab', variant), packed('b', variant)]),
  // Its launches are cut to what can be bound.
  whole(plain(() => 0, matmulPlain)),
];

/** Bindings a, b, y, those of the epilogue, and row_sums. */
export const matmul = kernelOf(
  'matmul',
  (problem: MatmulProblem, device) => new ProductPlan(problem, device),
  VARIANTS,
  matmulTuning,
);
