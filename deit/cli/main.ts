#!/usr/bin/env node
import { buildProgram } from './program.ts';
import { styled } from './style.ts';

try {
  await buildProgram().parseAsync();
} catch (error) {
  // Imported here, since help and version need no engine and are to come at once.
  const { DeitError } = await import('../../engine/index.ts');
  // A user's mistake gets its message; anything else is ours and gets its stack.
  const text = error instanceof DeitError ? error.message : String((error as Error).stack ?? error);
  process.stderr.write(`${text.replace(/^.*/, (first) => styled('red', first))}\n`);
  process.exitCode = 1;
}
