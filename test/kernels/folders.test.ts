/** Everything about an operator is found from its folder: see kernels/ADDING.md. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { catalog } from '../../kernels/catalog/index.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const read = (...path: string[]): string => readFileSync(join(root, ...path), 'utf8');

/** Folders of kernels that are no operators: what the others share, and the list of them. */
const SHARED = ['lib', 'catalog'];

const FOLDERS = readdirSync(join(root, 'kernels'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => relative(join(root, 'kernels'), join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
  .filter((folder) => !SHARED.includes(folder) && !['loss', 'optimizer'].includes(folder));

/** Kernels that the engine runs by itself: no operator calls them. */
const NOT_CALLED = ['accumulate', 'f16-copy', 'fill', 'peak'];

it('the catalogue has every folder, and no other', () => {
  expect(new Set(Object.values(catalog).map(({ folder }) => folder))).toEqual(new Set(FOLDERS));
});

describe.each(FOLDERS)('kernels/%s', (folder) => {
  const source = read('kernels', folder, 'index.ts');
  const header = source.startsWith('/**') ? source.slice(0, source.indexOf('*/')) : '';

  it('begins with what it computes, its gradient, its cost, and the command that shows it', () => {
    expect(header).toMatch(/gradient/i);
    expect(header).toMatch(/Cost: /);
    const shown = Array.from(
      header.replaceAll(/\s*\n \*\s*/g, ' ').matchAll(/`deit kernel (\w+)`/g),
      ([, name]) => name,
    );
    expect(shown.length).toBeGreaterThan(0);
    for (const name of shown) expect(catalog[name]?.folder, name).toBe(folder);
  });

  it('has a reference, which the test of its name compares with', () => {
    expect(existsSync(join(root, 'kernels', folder, 'reference.ts'))).toBe(true);
    const depth = '../'.repeat(folder.split('/').length + 1);
    expect(read('test', 'kernels', `${folder}.test.ts`)).toContain(`${depth}kernels/${folder}/reference.ts`);
  });

  it('has an operator of its name, unless the engine runs it by itself', () => {
    expect(existsSync(join(root, 'engine', 'ops', `${folder}.ts`))).toBe(!NOT_CALLED.includes(folder));
  });

  it('leaves no variant out of the arrays, and no file unnamed', () => {
    const files = readdirSync(join(root, 'kernels', folder)).filter((file) => file.endsWith('.ts'));
    const all = files.map((file) => read('kernels', folder, file)).join('\n');
    const others = files.filter((file) => !['index.ts', 'reference.ts'].includes(file));
    for (const file of others) expect(all, file).toContain(`'./${file}'`);
  });
});

/** Kernels of one invocation, or of one an element without any scaffold, are plain themselves. */
const PLAIN_THEMSELVES = ['mix', 'normalize_images', 'soft_targets', 'collect', 'grad_scaler', 'non_finite'];
/** Measurements, of which there is no other variant. */
const MEASUREMENTS = ['arithmetic_peak', 'bandwidth_peak'];

it.each(Object.keys(catalog).filter((name) => ![...PLAIN_THEMSELVES, ...MEASUREMENTS].includes(name)))(
  '%s has a plain variant in each pass',
  (name) => {
    const { sizes, options, forward, backward } = catalog[name];
    for (const pass of [forward, backward]) {
      const kernels = pass?.({ ...sizes, ...options } as never) ?? [];
      if (kernels.length > 0) expect(kernels[0].variants).toContain('plain');
    }
  },
);
