import { writeFileAtomically } from '../../engine/node.ts';
import { renderComparison, resultRows } from '../report/compare.ts';
import { pageAssets, readRun } from '../report/node/run-files.ts';
import { terminalTable } from '../report/table-text.ts';
import type { GlobalOptions } from './session.ts';

/** `deit compare`: runs side by side, as a table here and as a page. Needs no GPU. */
export async function compare(folders: readonly string[], options: GlobalOptions & { output: string }): Promise<void> {
  const runs = await Promise.all(folders.map(readRun));
  if (options.json) {
    const results = runs.map(({ label, config, result }) => ({ run: label, recipe: config.name, result }));
    process.stdout.write(`${JSON.stringify(results)}\n`);
  } else {
    process.stdout.write(terminalTable({ titles: ['', ...runs.map(({ label }) => label)], rows: resultRows(runs) }));
  }
  await writeFileAtomically(options.output, [Buffer.from(renderComparison(runs, await pageAssets()))]);
  process.stderr.write(`curves and differing settings: ${options.output}\n`);
}
