import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';

/** How many test files a mutation is tried on at most. */
const MOST = 4;
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

/** Whether a test's text has a name that the source exports. */
function mentions(root: string, test: string, source: string): boolean {
  const exported = readFileSync(join(root, source), 'utf8').matchAll(
    /^export (?:async )?(?:const|function|class) (\w+)/gm,
  );
  const words = new Set(readFileSync(join(root, test), 'utf8').match(/\w+/g));
  return [...exported].some(([, name]) => words.has(name));
}

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
  const cheap = tests.filter((test) => !COSTLY.test(test));
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
  return (source) => {
    const [room] = source.split('/');
    const words = nameOf(source).split('-');
    const far = (test: string): number => {
      const distance = distances.get(test)!.get(source) ?? Infinity;
      if (basename(test).startsWith(nameOf(source))) return distance - 1000;
      const shared = basename(test, '.test.ts')
        .split('-')
        .filter((word) => words.includes(word));
      return (
        distance -
        (mentions(root, test, source) ? 100 : 0) -
        10 * shared.length -
        (test.startsWith(`test/${room}/`) ? 0.5 : 0)
      );
    };
    const reaching = cheap
      .map((test) => ({ test, distance: far(test) }))
      .filter(({ distance }) => Number.isFinite(distance))
      .sort((a, b) => a.distance - b.distance);
    // All of its name; else those that are as near as the nearest.
    const limit = Math.max((reaching[0]?.distance ?? 0) + 0.5, -900);
    return reaching.slice(0, MOST).flatMap(({ test, distance }) => (distance <= limit ? [test] : []));
  };
}
