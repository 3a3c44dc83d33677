import { readdirSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

/** Folders of tests that stay inside one process and leave nothing behind in it, so that files share processes. */
const UNITS = ['kernels', 'ops', 'nn', 'engine', 'models', 'export', 'support'];
/** Files for which it matters what a process has loaded before: they replace a module, or look at all operators that there are. */
const ALONE = ['test/engine/atomic-file.test.ts', 'test/ops/golden-ops.test.ts'];

const notUnits = (name: string): boolean => !UNITS.includes(name);
const filesOf = (folders: readonly string[]): string[] => folders.map((name) => `test/${name}/**/*.test.ts`);

export default defineConfig({
  test: {
    pool: 'forks',
    // Most of the time goes into compiling kernels and into references, which are work for one core each.
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    tags: [{ name: 'slow', description: 'files that take more than four seconds: left out by `npm run test:quick`' }],
    projects: [
      {
        extends: true,
        test: {
          // Programs that are started, trainings, a browser, threads.
          name: 'programs',
          include: [...filesOf(readdirSync('test').filter(notUnits)), ...ALONE],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'units',
          include: filesOf(UNITS),
          exclude: ALONE,
          isolate: false,
          unstubEnvs: true,
          restoreMocks: true,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
