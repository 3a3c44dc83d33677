import { bind } from '../lib/kernel.ts';
import { useOf } from '../lib/variant.ts';
import type { Variant } from '../lib/variant.ts';
import { columnSum } from '../reduce/index.ts';
import type { ProductPlan } from './product-plan.ts';

/** The variant that sums the rows of a, which is stored as [k, m], by a kernel of their own beside another variant. */
export const withRowSums = (product: Variant<ProductPlan>): Variant<ProductPlan> => ({
  name: `row_sums+${product.name}`,
  fits: (plan, device) => {
    const { rowSums = false, a, m } = plan.problem;
    return rowSums && a.transposed && a.ld === m && !a.offset && product.fits(plan.withoutRowSums, device);
  },
  use: (plan, device) => useOf(product, plan.withoutRowSums, device),
  launches: (plan, device) => {
    const { m, k, f16 } = plan.problem;
    const sums = columnSum({ rows: k, columns: m, f16: f16?.includes('a') ?? false }, device);
    return [...bind(sums, { x: 'a', y: 'row_sums' }), ...product.launches(plan.withoutRowSums, device)];
  },
});
