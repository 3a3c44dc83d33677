/**
 * Every operator by its name, with an example of the problems it takes: what `deit kernel` lists and shows, and what the tests
 * render on every device profile.
 */
import { matrixSubgroup } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { DeitError, nearestName } from '../lib/errors.ts';
import { elementwiseOperators } from './elementwise.ts';
import { imageOperators } from './images.ts';
import type { BoundKernel, Field, Operator } from './operator.ts';
import { rowOperators } from './rows.ts';
import { selectionOperators } from './selection.ts';
import { trainingOperators } from './training.ts';

export type { BoundKernel, Field, Operator } from './operator.ts';

export const catalog: Readonly<Record<string, Operator>> = {
  ...rowOperators,
  ...imageOperators,
  ...elementwiseOperators,
  ...selectionOperators,
  ...trainingOperators,
};

/** The name in the catalogue: `layerNorm`, `layer-norm` and `layer_norm` are one. Throws `unknown-name`. */
export function operatorName(given: string): string {
  const plain = (name: string): string => name.replaceAll(/[-_]/g, '').toLowerCase();
  const names = Object.keys(catalog);
  const name = names.find((one) => plain(one) === plain(given));
  if (name !== undefined) return name;
  const nearest = nearestName(given, names);
  throw new DeitError('unknown-name', 'There is no operator of this name.', {
    found: given,
    fix: nearest ? `did you mean ${nearest}? deit kernel lists all` : 'deit kernel lists all',
  });
}

/** A problem of the operator, from parsed JSON, with the options that were left out. Throws `bad-config` that names the fields. */
export function problemOf(name: string, given: unknown): Readonly<Record<string, Field>> {
  const { sizes, options, choices } = catalog[name];
  const fail = (problem: string, found: unknown): never => {
    const left = Object.entries(options).map(([field, value]) => `${field} (${JSON.stringify(value)} if left out)`);
    throw new DeitError('bad-config', problem, {
      where: `the problem of ${name}`,
      expected: [...Object.keys(sizes), ...left].join(', '),
      found: JSON.stringify(found),
      fix: `for example ${JSON.stringify(sizes)}`,
    });
  };
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    return fail('A problem is an object.', given);
  for (const [field, value] of Object.entries(given)) {
    if (!Object.hasOwn(sizes, field) && !Object.hasOwn(options, field)) fail(`There is no field "${field}".`, given);
    const wanted = whatIsWrong(value, { ...sizes, ...options }[field], field in sizes, choices[field]);
    if (wanted) fail(`The field "${field}" is ${wanted}.`, value);
  }
  const missing = Object.keys(sizes).filter((field) => !Object.hasOwn(given, field));
  if (missing.length > 0) fail(`The problem lacks ${missing.map((field) => `"${field}"`).join(', ')}.`, given);
  return { ...options, ...given };
}

const isSize = (value: unknown): boolean => Number.isInteger(value) && Number(value) >= 1 && Number(value) < 2 ** 32;

/** What a field has to be, if this value is not that. */
function whatIsWrong(
  value: unknown,
  example: Field,
  isRequired: boolean,
  choices: readonly string[] | undefined,
): string | null {
  if (Array.isArray(example)) return Array.isArray(value) && value.every(isSize) ? null : 'a list of whole numbers';
  if (choices) return choices.includes(String(value)) ? null : `one of ${choices.join(', ')}`;
  if (typeof example === 'boolean') return typeof value === 'boolean' ? null : 'true or false';
  if (isRequired) return isSize(value) ? null : 'a whole number of at least 1';
  return typeof value === 'number' && Number.isFinite(value) ? null : 'a number';
}

/** The kernels of an operator for a problem with all fields. Throws `no-gradient` where there is no backward pass. */
export function kernelsOf(
  name: string,
  problem: Readonly<Record<string, Field>>,
  pass: 'forward' | 'backward',
): readonly BoundKernel[] {
  const bound = catalog[name][pass];
  if (!bound) throw new DeitError('no-gradient', 'This operator has no backward pass.', { found: name });
  return bound(problem as never);
}

/** Throws `feature-missing` where the code needs what the device lacks. */
export function expectFeatures(code: string, device: DeviceProfile, where: string): void {
  const lacks = [
    ...(/\bf16\b/.test(code) && !device.f16 ? ['f16'] : []),
    ...(code.includes('enable subgroups') && matrixSubgroup(device).lanes === 0 ? ['subgroups'] : []),
  ];
  if (lacks.length === 0) return;
  throw new DeitError('feature-missing', 'This kernel needs what the device lacks.', {
    where,
    found: lacks.join(', '),
  });
}
