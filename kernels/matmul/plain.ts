import type { DeviceProfile } from '../lib/device.ts';
import type { Launch } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';
import { epilogueFunctions, epilogueWgsl } from './epilogue.ts';
import { batchSize, matmulBindings, matmulCost, matmulUniforms, storeRowSum, tiling } from './problem.ts';
import type { MatmulProblem } from './problem.ts';

/** One invocation an element of y; that of the first column also sums its row of a. */
export function matmulPlain(problem: MatmulProblem, device: DeviceProfile): Launch[] {
  const { m, n, a, b, epilogue = {}, rowSums = false } = problem;
  const left = a.transposed ? 'a[at_a + k * params.a_ld + row]' : 'a[at_a + row * params.a_ld + k]';
  const right = b.transposed ? 'b[at_b + column * params.b_ld + k]' : 'b[at_b + k * params.b_ld + column]';
  return [
    perInvocation(
      {
        name: 'matmul/plain',
        bindings: matmulBindings(problem, { a: 'f32', b: 'f32', y: 'f32' }),
        uniforms: matmulUniforms(problem, tiling(problem, 1, 1)),
        ranges: problem.ranges,
        functions: epilogueFunctions(epilogue),
        count: batchSize(problem) * m * n,
        body: /* wgsl */ `
  let column = i % params.n;
  let row = i / params.n % params.m;
  let outer = i / params.n / params.m / params.batch_inner;
  let inner = i / params.n / params.m % params.batch_inner;
  let at_a = params.a_offset + outer * params.a_outer + inner * params.a_inner;
  let at_b = params.b_offset + outer * params.b_outer + inner * params.b_inner;
  let at_y = params.y_offset + outer * params.y_outer + inner * params.y_inner;
  var sum = 0.0;
  ${rowSums ? 'var row_sum = 0.0;' : ''}
  for (var k = 0u; k < params.k; k++) {
    sum += ${left} * ${right};
    ${rowSums ? `row_sum += ${left};` : ''}
  }
  let index = at_y + row * params.y_ld + column;
  ${epilogueWgsl(epilogue, { vector: false, sum: 'sum', row: 'row', index: 'index', column: 'column' })}
  ${rowSums ? `if (column == 0u) { ${storeRowSum(problem, 'row', 'row_sum')} }` : ''}`,
        cost: matmulCost(problem),
      },
      device,
    ),
  ];
}
