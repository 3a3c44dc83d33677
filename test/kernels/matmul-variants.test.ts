/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { matmul } from '../../engine/node.ts';
import type { Tensor } from '../../engine/node.ts';
import { MATMUL_CASES } from '../cases/matmul.ts';
import type { MatmulCase } from '../cases/matmul.ts';
import { product } from '../support/arrays.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { matmulReference } from '../../kernels/matmul/reference.ts';

const engine = useEngine();

describe('every variant of every product', () => {
  /** The product of a case by each variant that `wanted` lets through, against float64. */
  async function check(problem: MatmulCase, wanted: (name: string) => boolean): Promise<number> {
    const [a, b] = [uniform(product(problem.a), 1), uniform(product(problem.b), 2)];
    const [ta, tb] = [engine().tensor(a, problem.a), engine().tensor(b, problem.b)];
    const { values, k } = matmulReference(problem, a, b);
    const run = (): Tensor => matmul(ta, tb, problem);
    const [asked] = await engine().variants.collect(run);
    const names = [...asked.kernel.candidates(asked.problem, engine().profile), 'plain'].filter(wanted);
    for (const name of names) {
      engine().variants.choose(asked.key, name);
      // Sums of k products in f32: some 2^-24 times the square root of k, relative to the norm.
      expectClose(await run().read(), values, 2 ** -24 * (4 + Math.sqrt(k)), name);
    }
    return names.length;
  }

  // Software adapters take long to compile what is made for others; matmul-kernels.test.ts has the other tiles.
  it.each(MATMUL_CASES)('$name', async (problem) => {
    expect(await check(problem, (name) => !/workgroup|rows_\d/.test(name))).toBeGreaterThan(0);
  });

  const tiled = MATMUL_CASES.filter(({ name }) => /^36 x 198 x 64|^127 x 65 x 33/.test(name));
  it.each(tiled)('tiles of $name', async (problem) => {
    await check(problem, (name) => /rows_\d/.test(name));
  });
});
