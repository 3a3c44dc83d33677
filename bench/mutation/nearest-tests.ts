import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';

/** On how many test files a mutation is tried at most where none bears its file's name. */
const MOST = 4;
/** Folders of `test` where kernels are run by themselves, or one operator at a time. */
const TESTS_OF_KERNELS: ReadonlySet<string> = new Set(['kernels', 'engine', 'ops']);
/** Every operator against PyTorch, by declarations. */
const OPERATORS = 'test/ops/golden-ops.test.ts';
/** The engine as its users see it. */
const ENGINE = ['engine', 'engine-errors', 'engine-sequences', 'memory-plan'].map(
  (name) => `test/engine/${name}.test.ts`,
);
/** Modules and optimizers inside models, against timm and PyTorch. */
const MODELS = ['test/models/deit.test.ts', 'test/models/regnety.test.ts', 'test/training/golden-training.test.ts'];
/** They open browsers, install packages or start ranks: minutes for one mutation. */
const COSTLY = /^test\/(browser|package|ranks)\/|faults|hostile-report/;

/** Which files of a repository a file imports, directly. */
function importsOf(root: string, file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)]
    .map(([, path]) => normalize(join(dirname(file), path)))
    .filter((path) => existsSync(join(root, path)));
}

/** The name that a test of a source bears: its file's, or its folder's where a folder is one kernel. */
function nameOf(source: string): string {
  const folder = basename(dirname(source));
  return source.startsWith('kernels/') && folder !== 'lib' ? folder : basename(source, '.ts');
}

/** What tests a whole of which the source is a part. */
function broadTestsOf(source: string): readonly string[] {
  if (source.startsWith('engine/ops/')) return [OPERATORS];
  return source.startsWith('engine/') ? ENGINE : source.startsWith('nn/') ? MODELS : [];
}

/** Folders of `deit` whose tests are in one of another name. */
const TESTED_IN: Readonly<Record<string, string>> = { train: 'training', recipe: 'training', weights: 'models' };

const namesExportedBy = (text: string): string[] =>
  [...text.matchAll(/^export (?:async )?(?:const|function|class) (\w+)/gm)].map(([, name]) => name);

/**
 * The test files nearest to a source: those that bear its name, else those that use a name it exports, else those that import it
 * with the fewest files between. `tests` are all test files.
 */
export function nearestTests(root: string, tests: readonly string[]): (source: string) => string[] {
  const direct = new Map<string, string[]>();
  const imports = (file: string): string[] => {
    const known = direct.get(file) ?? importsOf(root, file);
    direct.set(file, known);
    return known;
  };
  const found = new Map<string, string[]>();
  const cheap = tests.filter((test) => !COSTLY.test(test));
  const words = new Map(cheap.map((test) => [test, new Set(readFileSync(join(root, test), 'utf8').match(/\w+/g))]));
  // Distance from each test to everything that it reaches.
  const distances = new Map(
    cheap.map((test) => {
      const reached = new Map([[test, 0]]);
      for (const [file, distance] of reached) {
        for (const next of imports(file)) if (!reached.has(next)) reached.set(next, distance + 1);
      }
      return [test, reached] as const;
    }),
  );
  const testsFor = (source: string): string[] => {
    const [room, folder] = source.split('/');
    const parts = nameOf(source).split('-');
    const exported = namesExportedBy(readFileSync(join(root, source), 'utf8'));
    const far = (test: string): number => {
      const distance = distances.get(test)!.get(source) ?? Infinity;
      const [, testedRoom] = test.split('/');
      // Kernels have tests of their own; those of whole programs and of data would only be slower.
      if (room === 'kernels' && !TESTS_OF_KERNELS.has(testedRoom)) return Infinity;
      const name = basename(test, '.test.ts');
      if (name === nameOf(source)) return distance - 1000;
      // `matmul-variants` is of `matmul`, as `matmul` is.
      if (name.startsWith(`${nameOf(source)}-`)) return distance - (room === 'kernels' ? 1000 : 200);
      const shared =
        room === 'engine' && testedRoom === 'kernels' ? [] : name.split('-').filter((word) => parts.includes(word));
      return (
        distance -
        (exported.some((name) => words.get(test)!.has(name)) ? 100 : 0) -
        10 * shared.length -
        ([room, TESTED_IN[folder] ?? folder].includes(testedRoom) ? 5 : 0)
      );
    };
    const reaching = cheap
      .map((test) => ({ test, distance: far(test) }))
      .filter(({ distance }) => Number.isFinite(distance))
      .sort((a, b) => a.distance - b.distance);
    // All of its name; else the nearest.
    const named = reaching.filter(({ distance }) => distance < -900);
    const nearest = (named.length > 0 ? named : reaching.slice(0, MOST)).map(({ test }) => test);
    return [...new Set([...nearest, ...broadTestsOf(source)])];
  };
  return (source) => {
    const own = found.get(source) ?? testsFor(source);
    found.set(source, own);
    return own;
  };
}
