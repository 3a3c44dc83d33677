import { writeFileAtomically } from '../../engine/node.ts';
import { renderComparison, resultRows } from '../report/compare.ts';
import { pageAssets, readRun } from '../report/node/run-files.ts';
import type { GlobalOptions } from './session.ts';

/** `deit compare`: runs side by side, as a table here and as a page. Needs no GPU. */
export async function compare(folders: readonly string[], options: GlobalOptions & { output: string }): Promise<void> {
  const runs = await Promise.all(folders.map(readRun));
  const rows = [['', ...runs.map(({ label }) => label)], ...resultRows(runs)];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  if (options.json) {
    const results = runs.map(({ label, config, result }) => ({ run: label, recipe: config.name, result }));
    process.stdout.write(`${JSON.stringify(results)}\n`);
  } else {
    for (const row of rows) {
      const cells = row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])));
      process.stdout.write(`${cells.join('  ').trimEnd()}\n`);
    }
  }
  await writeFileAtomically(options.output, [Buffer.from(renderComparison(runs, await pageAssets()))]);
  process.stderr.write(`curves and differing settings: ${options.output}\n`);
}
