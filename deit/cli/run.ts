import { CommanderError } from 'commander';
import { buildProgram } from './program.ts';

/** Runs `deit` with these arguments and returns its exit code. What goes wrong is told on standard error. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    await buildProgram().parseAsync(args, { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    // Commander has told it already, or was asked for help or the version.
    if (error instanceof CommanderError) return error.exitCode;
    // Imported here, since help and version need no engine and are to come at once.
    const { describeError } = await import('./errors.ts');
    process.stderr.write(`${describeError(error)}\n`);
    return 1;
  }
}
