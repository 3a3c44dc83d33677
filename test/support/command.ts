import { vi } from 'vitest';
import { buildProgram } from '../../deit/cli/program.ts';
import { run } from '../../deit/cli/run.ts';

export interface Written {
  readonly out: string;
  readonly err: string;
}

/** Does `work` and returns, beside its result, what was written meanwhile. */
async function written<Result>(work: () => Promise<Result>): Promise<Written & { result: Result }> {
  let [out, err] = ['', ''];
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => ((out += String(chunk)), true));
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => ((err += String(chunk)), true));
  try {
    const result = await work();
    return { out, err, result };
  } finally {
    vi.restoreAllMocks();
  }
}

/** Runs a command in this process and returns what it wrote. Rejects with what it throws. */
export const deit = (...args: string[]): Promise<Written> =>
  written(() => buildProgram().parseAsync(args, { from: 'user' }));

/** The same as users see it: what goes wrong is told on standard error, and gives an exit code. */
export async function ran(...args: string[]): Promise<Written & { readonly code: number }> {
  try {
    const { result: code, out, err } = await written(() => run(args));
    return { code, out, err };
  } finally {
    process.exitCode = undefined;
  }
}

/** The line of JSON that a command with --json ends with. */
export const lastJson = <Content>(text: string): Content => JSON.parse(text.trim().split('\n').at(-1)!) as Content;
