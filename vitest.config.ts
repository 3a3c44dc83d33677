import { readdirSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

/** Folders of tests that stay inside one process and leave nothing behind in it, so that files share processes. */
const UNITS = ['kernels', 'ops', 'nn', 'engine', 'models', 'export', 'support'];
/** The same of the command's parts; not run at each save. A process of its own costs a file more than a second of loading. */
const PARTS = ['data', 'report', 'serve', 'study'];
/** Files for which it matters what a process has loaded before: they replace a module, look at all operators that there are, or start a browser. */
const ALONE = ['test/engine/atomic-file.test.ts', 'test/ops/golden-ops.test.ts', 'test/report/hostile-report.test.ts'];

const startsPrograms = (name: string): boolean => ![...UNITS, ...PARTS].includes(name);
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
          include: [...filesOf(readdirSync('test').filter(startsPrograms)), ...ALONE],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'parts',
          include: filesOf(PARTS),
          exclude: ALONE,
          isolate: false,
          restoreMocks: true,
          sequence: { groupOrder: 1 },
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
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
