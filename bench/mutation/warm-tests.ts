/**
 * A program of its own: a Vitest that stays ready in the folder it is started in, so that a mutation costs its tests and not the
 * reading and translating of all sources. Its parent sends a `Question` at a time and gets an `Answer`.
 */
import { resolve } from 'node:path';
import { createVitest } from 'vitest/node';
import type { TestCase, TestModule } from 'vitest/node';

export interface Question {
  /** Files that have been written since the last question. */
  readonly changed: readonly string[];
  /** Test file to run until its first failure. */
  readonly test: string;
  /** Runs only the test of this full name. */
  readonly only?: string;
  /** Runs none of these full names. */
  readonly without?: readonly string[];
}

export interface Answer {
  readonly passed: boolean;
  /** Full name of the first test that failed; none where the file failed as a whole. */
  readonly failed?: string;
  readonly errors: string;
  readonly seconds: number;
}

const vitest = await createVitest('test', { watch: false, bail: 1, reporters: [{}] });
await vitest.standalone();
await vitest.globTestSpecifications();

const failedIn = (module: TestModule): TestCase | undefined => [...module.children.allTests('failed')][0];

const literally = (name: string): string => name.replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`);

async function answer({ changed, test, only, without = [] }: Question): Promise<Answer> {
  const began = performance.now();
  for (const file of changed) vitest.invalidateFile(resolve(file));
  if (only !== undefined) vitest.setGlobalTestNamePattern(new RegExp(`^${literally(only)}$`));
  else if (without.length > 0)
    vitest.setGlobalTestNamePattern(new RegExp(`^(?!(?:${without.map(literally).join('|')})$)`));
  else vitest.resetGlobalTestNamePattern();
  const result = await vitest.runTestSpecifications(vitest.getModuleSpecifications(resolve(test)));
  // Vitest tells of all files that it has run, from their last runs.
  const testModules = result.testModules.filter(({ moduleId }) => moduleId === resolve(test));
  const { unhandledErrors } = result;
  const failed = testModules.map(failedIn).find((found) => found !== undefined);
  const errors = [
    ...(failed?.result().errors ?? []),
    ...testModules.flatMap((module) => module.errors()),
    ...unhandledErrors,
  ] as { message?: string; stack?: string }[];
  return {
    passed: testModules.length > 0 && testModules.every((module) => module.ok()) && unhandledErrors.length === 0,
    ...(failed && { failed: failed.fullName.replaceAll(' > ', ' ') }),
    errors: errors.map(({ message, stack }) => `${message}\n${stack}`).join('\n'),
    seconds: (performance.now() - began) / 1000,
  };
}

process.on('message', (question: Question) => {
  void answer(question).then((result) => process.send!(result));
});
process.send!('ready');
