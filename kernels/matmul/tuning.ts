import type { Allocation } from '../lib/kernel.ts';
import { roundingOfSums } from '../lib/variant.ts';
import type { Tuning } from '../lib/variant.ts';
import { matmulCost } from './problem.ts';
import type { F16Binding, MatmulProblem } from './problem.ts';

const operand = (transposed: boolean): string => (transposed ? '^T' : '');

/** Elements that an operand of stored rows takes, all batches included. */
function extent(problem: MatmulProblem, of: 'a' | 'b' | 'y', rows: number, columns: number): number {
  const { ld, offset = 0 } = problem[of];
  const steps = (problem.batch ?? []).reduce((sum, axis) => sum + (axis.size - 1) * axis[of], 0);
  return offset + steps + (rows - 1) * ld + columns;
}

export const matmulTuning: Tuning<MatmulProblem> = {
  flops: (problem) => matmulCost(problem).flops,
  describe({ m, n, k, a, b, batch = [], epilogue = {}, rowSums }) {
    const sizes = batch.map(({ size }) => size).filter((size) => size > 1);
    const extras = Object.entries(epilogue).flatMap(([name, on]) => (on ? [name] : []));
    if (rowSums) extras.push('rowSums');
    const shape = `${[...sizes, ''].join('x')}${m}x${k}${operand(a.transposed)} by ${k}x${n}${operand(b.transposed)}`;
    return [shape, ...extras].join(' + ');
  },
  tensors(problem) {
    const { m, n, k, a, b, epilogue = {}, rowSums, f16 } = problem;
    const size = extent(problem, 'y', m, n);
    const of = (name: F16Binding, elements: number): Record<string, Allocation> => ({
      [name]: { elements, dtype: f16?.includes(name) ? 'f16' : 'f32' },
    });
    return {
      ...of('a', extent(problem, 'a', a.transposed ? k : m, a.transposed ? m : k)),
      ...of('b', extent(problem, 'b', b.transposed ? n : k, b.transposed ? k : n)),
      ...of('y', size),
      ...(epilogue.bias && of('bias', n)),
      ...(epilogue.rowScale && { row_scale: { elements: m } }),
      ...(epilogue.residual && of('residual', size)),
      ...(epilogue.geluGradient && of('pre', size)),
      ...(epilogue.gelu && of('activated', size)),
      ...(rowSums && { row_sums: { elements: m } }),
    };
  },
  results: ['y', 'activated', 'row_sums'],
  // Where f16 is stored, one of two neighbours.
  tolerance: ({ k, f16 }) => roundingOfSums(k) + (f16 ? 2 ** -11 : 0),
};
