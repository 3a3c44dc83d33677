import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** `timeout`: the tests did not end, which is noticed too; `invalid`: a shader that does not compile; `untested`: no test imports it. */
export type Outcome = 'noticed' | 'timeout' | 'survived' | 'untested' | 'invalid';

export interface Result {
  readonly folder: string;
  readonly change: string;
  readonly outcome: Outcome;
  readonly tests: readonly string[];
  /** The test that failed first. */
  readonly by?: string;
  /** Of a survivor: the test that was written for it, or why it is equivalent. */
  readonly answer?: string;
}

const pathOf = (root: string): string => join(root, 'bench/results/mutation.json');

export const readResults = (root: string): Result[] =>
  existsSync(pathOf(root)) ? (JSON.parse(readFileSync(pathOf(root), 'utf8')) as Result[]) : [];

/** Adds a result, in place of an earlier one of the same change; its answer stays. */
export function addResult(root: string, result: Result): void {
  const all = readResults(root);
  const at = all.findIndex(({ change }) => change === result.change);
  if (at < 0) all.push(result);
  else all[at] = { ...all[at], ...result };
  all.sort((a, b) => (a.change < b.change ? -1 : 1));
  writeFileSync(pathOf(root), `${JSON.stringify(all, null, 2)}\n`);
}

/** A line for each folder: of the valid mutations, how many were noticed; answered survivors apart. */
export function summary(results: readonly Result[]): string {
  const lines = [...new Set(results.map(({ folder }) => folder))].sort().map((folder) => {
    const own = results.filter((result) => result.folder === folder && result.outcome !== 'invalid');
    const noticed = own.filter(({ outcome }) => outcome === 'noticed' || outcome === 'timeout').length;
    const answered = own.filter(({ outcome, answer }) => answer !== undefined && outcome !== 'noticed').length;
    return `${folder}: ${noticed} of ${own.length} noticed, ${own.length - noticed - answered} survivors without an answer`;
  });
  return lines.join('\n');
}
