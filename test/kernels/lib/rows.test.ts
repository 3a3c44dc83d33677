import { describe, expect, it } from 'vitest';
import type { DeviceProfile } from '../../../kernels/lib/device.ts';
import { rowVariants } from '../../../kernels/lib/row-plan.ts';
import type { Caching, RowPlan, RowShape } from '../../../kernels/lib/row-plan.ts';
import { choose } from '../../../kernels/lib/variant.ts';

/** The plan of the variant that is chosen. */
function planRows(shape: RowShape, device: DeviceProfile, caching: Caching = false): RowPlan {
  const plans: RowPlan[] = [];
  const variants = rowVariants<RowShape>(
    (own) => own,
    caching,
    (_shape, plan) => {
      plans.push(plan);
      return [];
    },
  );
  choose(variants, shape, device).launches(shape, device);
  return plans[0];
}

describe('the plan for rows', () => {
  const gpu = { cpu: false, subgroupSize: 32 };
  const device = {
    maxWorkgroupsPerDimension: 65535,
    maxInvocationsPerWorkgroup: 256,
    maxWorkgroupStorage: 16384,
    maxBindingSize: 2 ** 27,
    maxStorageBuffers: 8,
    f16: false,
  };
  const shape = { outer: 10, width: 192, inner: 1 };

  it('follows the device and the layout', () => {
    expect(planRows(shape, { ...device, ...gpu })).toMatchObject({ sharing: 'subgroup', lanes: 32, vector: 4 });
    expect(planRows(shape, { ...device, ...gpu, subgroupSize: 0 })).toMatchObject({ sharing: 'workgroup', vector: 4 });
    expect(planRows(shape, { ...device, cpu: true, subgroupSize: 8 })).toMatchObject({
      sharing: 'invocation',
      lanes: 1,
    });
    const unaligned = { ...shape, width: 197 };
    expect(planRows(unaligned, { ...device, cpu: true, subgroupSize: 8 }, true)).toMatchObject({
      sharing: 'subgroup',
      cached: 25,
    });
    expect(planRows(unaligned, { ...device, cpu: true, subgroupSize: 8 }, 'unaligned')).toMatchObject({
      sharing: 'subgroup',
      vector: 4,
      cached: 7,
    });
    expect(planRows(unaligned, { ...device, cpu: true, subgroupSize: 0 }, true)).toMatchObject({
      sharing: 'invocation',
      cached: 0,
    });
    expect(planRows({ ...shape, inner: 4 }, { ...device, ...gpu })).toMatchObject({ sharing: 'invocation', vector: 1 });
  });
});
