import { vi } from 'vitest';
import { buildProgram } from '../../deit/cli/program.ts';

/** Runs a command in this process and returns what it wrote. Rejects with what it throws. */
export async function deit(...args: string[]): Promise<{ out: string; err: string }> {
  let [out, err] = ['', ''];
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => ((out += String(chunk)), true));
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => ((err += String(chunk)), true));
  try {
    await buildProgram().parseAsync(args, { from: 'user' });
  } finally {
    vi.restoreAllMocks();
  }
  return { out, err };
}

/** The line of JSON that a command with --json ends with. */
export const lastJson = <Content>(text: string): Content => JSON.parse(text.trim().split('\n').at(-1)!) as Content;
