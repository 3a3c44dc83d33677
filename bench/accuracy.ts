/**
 * `npm run accuracy`: runs every golden case of every operator on this machine's adapter, prints how far values and
 * gradients are from PyTorch's in float64, and writes the table to test/OPERATORS.md.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { createEngine } from '../engine/node.ts';
import { goldenOpCases, runOpCases } from '../test/support/golden-ops.ts';
import { judge } from '../test/support/tolerance.ts';
import type { Verdict } from '../test/support/tolerance.ts';

const path = fileURLToPath(new URL('../test/OPERATORS.md', import.meta.url));

/** The worst of some verdicts. A relative error means nothing where the truth is zero: nearer to it than the tolerance. */
function worst(verdicts: readonly Verdict[]): string[] {
  const most = (of: (verdict: Verdict) => number, among = verdicts): number => Math.max(0, ...among.map(of));
  const sizable = verdicts.filter(({ allowed }) => allowed < 1);
  const relative = [most((verdict) => verdict.relative, sizable), most((verdict) => verdict.noise, sizable)];
  const units = [most(({ whole }) => whole), most(({ element }) => element)];
  return [
    ...relative.map((error) => (error === 0 ? 'exact' : error.toExponential(1))),
    ...units.map((error) => error.toFixed(2)),
  ];
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

const engine = await createEngine();
const rows: string[][] = [];
const all: Verdict[] = [];
let total = 0;
for (const [op, cases] of goldenOpCases()) {
  const results = (await runOpCases(engine, cases)).map((result) => ({ ...result, verdict: judge(result) }));
  const verdicts = (gradient: boolean): Verdict[] =>
    results.filter(({ what }) => what.startsWith('gradient') === gradient).map(({ verdict }) => verdict);
  const allowed = median(results.map(({ verdict }) => verdict.allowed));
  rows.push([op, String(cases.length), ...worst(verdicts(false)), ...worst(verdicts(true)), allowed.toExponential(1)]);
  all.push(...results.map(({ verdict }) => verdict));
  total += cases.length;
}
const { name } = engine.adapter;
engine.close();

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
const text = `# Accuracy of the operators

Made by \`npm run accuracy\` on ${name}. ${total} cases, ${all.length} results and gradients; every one of them within its
tolerance: ${all.every(({ whole, element }) => whole <= 1 && element <= 1) ? 'yes' : 'NO'}.

The reference is PyTorch in float64 on the same inputs ([golden/README.md](golden/README.md)). For the forward pass (running
statistics included) and for all gradients the table gives the worst case of

- the relative error, ||ours - reference|| / ||reference||, where the reference is not zero, and that of PyTorch's own float32
  result;
- the same error in units of the tolerance;
- the error of a single element in units of its share of the tolerance.

Above 1 a test fails. The tolerance is one formula for all operators, from the number of terms that are summed, the
errors that WGSL allows of its functions, and the error of PyTorch's own float32 result:
[support/tolerance.ts](support/tolerance.ts). The last column is the relative error that it allows in the median case. chain is
another operator on the result of a permute, slice or expand, which stands for PyTorch's non-contiguous inputs.

| operator | cases | forward | PyTorch's | of tolerance | element | gradients | PyTorch's | of tolerance | element | allowed |
| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |
${rows.map(line).join('\n')}
`;
writeFileSync(path, await format(text, { ...(await resolveConfig(path)), filepath: path }));
console.log(
  rows.map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(26) : cell.padStart(8))).join(' ')).join('\n'),
);
console.log(`written to ${path}`);
