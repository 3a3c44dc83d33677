import { CommanderError } from 'commander';
import { buildProgram } from './program.ts';
import { styled } from './style.ts';

/** Runs `deit` with these arguments and returns its exit code. What goes wrong is told on standard error. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    await buildProgram().parseAsync(args, { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    // Commander has told it already, or was asked for help or the version.
    if (error instanceof CommanderError) return error.exitCode;
    // Imported here, since help and version need no engine and are to come at once.
    const { DeitError } = await import('../../engine/index.ts');
    // A user's mistake gets its message; anything else is ours and gets its stack.
    const text = error instanceof DeitError ? error.message : String((error as Error).stack ?? error);
    process.stderr.write(`${text.replace(/^.*/, (first) => styled('red', first))}\n`);
    return 1;
  }
}
