import { captured } from '../../bench/drills/captured.ts';
import type { Written } from '../../bench/drills/captured.ts';
import { buildProgram } from '../../deit/cli/program.ts';
import { run } from '../../deit/cli/run.ts';

/** Runs a command in this process and returns what it wrote. Rejects with what it throws. */
export const deit = (...args: string[]): Promise<Written> =>
  captured(() => buildProgram().parseAsync(args, { from: 'user' }));

/** The same as users see it: what goes wrong is told on standard error, and gives an exit code. */
export async function ran(...args: string[]): Promise<Written & { readonly code: number }> {
  try {
    const { result: code, out, err } = await captured(() => run(args));
    return { code, out, err };
  } finally {
    process.exitCode = undefined;
  }
}

/** The line of JSON that a command with --json ends with. */
export const lastJson = <Content>(text: string): Content => JSON.parse(text.trim().split('\n').at(-1)!) as Content;
