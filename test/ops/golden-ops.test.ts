/** @module-tag slow */
/** Every differentiable operator against PyTorch in float64, forward and backward: test/golden/ops.*. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { operators } from '../../engine/index.ts';
import { useEngine } from '../support/engine.ts';
import { goldenOpCases, runOpCases } from '../support/golden-ops.ts';
import { describeWrong, judge } from '../support/tolerance.ts';

const engine = useEngine();
const cases = goldenOpCases();

/** Differentiable operators without golden cases, and where they are compared with what. */
const elsewhere: Readonly<Record<string, string>> = {
  to: 'kernels/cast.test.ts: exact',
  dropout: 'kernels/dropout.test.ts: the host draws the same numbers',
  dropPath: 'kernels/drop-path.test.ts: the host draws the same numbers',
  dropPathAdd: 'kernels/drop-path.test.ts: the host draws the same numbers',
  checkpoint: 'ops/activation-checkpoint.test.ts: equal to the bit to the operators that it computes again',
};

describe('the golden cases', () => {
  it('are at least 25 of every operator that has a gradient', () => {
    const differentiable = [...operators.values()].filter(({ backward }) => backward).map(({ name }) => name);
    const compared = new Set([...cases.keys(), ...Object.keys(elsewhere)]);
    expect(differentiable.filter((name) => !compared.has(name))).toEqual([]);
    for (const [op, rows] of cases) expect(rows.length, op).toBeGreaterThanOrEqual(25);
  });

  it('are all in the table of the documentation', () => {
    const table = readFileSync(new URL('../OPERATORS.md', import.meta.url), 'utf8');
    const listed = [...table.matchAll(/^\| (\w+) +\| +(\d+) \|/gm)].map(([, op, count]) => [op, Number(count)]);
    expect(listed, 'npm run accuracy makes it anew').toEqual([...cases].map(([op, rows]) => [op, rows.length]));
  });

  describe.each([...cases.keys()])('%s', (op) => {
    it('gives the values and gradients of PyTorch', async () => {
      const results = await runOpCases(engine(), cases.get(op)!);
      expect(results.flatMap(describeWrong)).toEqual([]);
      // The tolerance would notice an error of 1e-5 in most results: only ill-conditioned cases are allowed more.
      const notes = results.filter((result) => judge(result).allowed < 1e-5);
      expect(notes.length).toBeGreaterThan(0.6 * results.length);
    });
  });
});
