#!/usr/bin/env node
import { DeitError } from '../../engine/index.ts';
import { buildProgram } from './program.ts';

try {
  await buildProgram().parseAsync();
} catch (error) {
  // A user's mistake gets its message; anything else is ours and gets its stack.
  process.stderr.write(`${error instanceof DeitError ? error.message : String((error as Error).stack ?? error)}\n`);
  process.exitCode = 1;
}
