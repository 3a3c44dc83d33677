import { describe, expect, it } from 'vitest';
import { planRows } from '../../../kernels/lib/rows.ts';

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
    expect(planRows(shape, { ...device, ...gpu })).toMatchObject({ variant: 'subgroup', lanes: 32, vector: 4 });
    expect(planRows(shape, { ...device, ...gpu, subgroupSize: 0 })).toMatchObject({ variant: 'workgroup', vector: 4 });
    expect(planRows(shape, { ...device, cpu: true, subgroupSize: 8 })).toMatchObject({
      variant: 'invocation',
      lanes: 1,
    });
    const ragged = { ...shape, width: 197 };
    expect(planRows(ragged, { ...device, cpu: true, subgroupSize: 8 }, true)).toMatchObject({
      variant: 'subgroup',
      held: 25,
    });
    expect(planRows(ragged, { ...device, cpu: true, subgroupSize: 8 }, 'ragged')).toMatchObject({
      variant: 'subgroup',
      vector: 4,
      held: 7,
    });
    expect(planRows(ragged, { ...device, cpu: true, subgroupSize: 0 }, true)).toMatchObject({
      variant: 'invocation',
      held: 0,
    });
    expect(planRows({ ...shape, inner: 4 }, { ...device, ...gpu })).toMatchObject({ variant: 'invocation', vector: 1 });
  });
});
