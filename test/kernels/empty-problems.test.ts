/** Problems with an empty dimension are refused by the kernel that they are for, before anything runs. */
import { describe, expect, it } from 'vitest';
import { catalog } from '../../kernels/catalog/index.ts';
import { deviceProfiles } from '../../kernels/lib/device-profiles.ts';
import { DeitError } from '../../kernels/lib/errors.ts';

/** A matrix without rows or columns may be padded to zeros. */
const MAY_BE_ZERO: Readonly<Record<string, readonly string[]>> = { pad: ['rows', 'columns'] };
/** Those whose sizes are numbers; shapes of two operands are those of the engine. */
const OPERATORS = Object.keys(catalog).filter((name) =>
  Object.values(catalog[name].sizes).some((size) => typeof size === 'number'),
);

describe.each(OPERATORS)('%s', (name) => {
  const { sizes, options, forward } = catalog[name];
  it.each(
    Object.keys(sizes).filter((field) => typeof sizes[field] === 'number' && !MAY_BE_ZERO[name]?.includes(field)),
  )('refuses no %s', (field) => {
    const launch = (problem: object): unknown =>
      forward(problem as never).map((kernel) => kernel.launches(deviceProfiles.gpu));
    const problem = { ...sizes, ...options };
    expect(() => launch(problem)).not.toThrow();
    expect(() => launch({ ...problem, [field]: 0 })).toThrow(DeitError);
  });
});
