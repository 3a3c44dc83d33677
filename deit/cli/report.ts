import { writeReport } from '../report/node/run-files.ts';
import type { GlobalOptions } from './session.ts';

/** `deit report`: the report of a run, from what its folder holds. Needs no GPU. */
export async function report(folder: string, options: GlobalOptions & { output?: string }): Promise<void> {
  const path = await writeReport(folder, options.output);
  process.stderr.write(`report: ${path}\n`);
  if (options.json) process.stdout.write(`${JSON.stringify({ report: path })}\n`);
}
