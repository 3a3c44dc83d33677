/**
 * NaN and infinity, found by their bits: WGSL compilers may assume that neither occurs, so no comparison of floats is safe.
 *
 * `countNonFinite`: found[2k] += how many of the n elements of x (f32, or f16) are NaN or infinite, and found[2k + 1]
 * becomes at least 2^32 - 1 - (index of the first of them). `found` is zero at first, so a 0 there says that none is.
 * `countPoison`: likewise elements all of whose bits are set: debug mode fills memory with them, and no arithmetic makes them.
 * `countNonFiniteLoss`: guard[0] += 1 if loss[0] is not finite.
 * `skipNonFiniteStep`: norm[1], the number of non-finite gradient elements, which keeps an optimizer from updating, becomes
 * norm[1] + guard[0]; guard[0] becomes the same if all later steps are to be skipped too, else 0.
 *
 * No gradient. Cost: each element is read once. `deit kernel non_finite` shows the kernels.
 */
import { pointwise } from '../lib/elementwise.ts';
import { input, launch, output, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import type { VariantKernel } from '../lib/variant.ts';

const F32_EXPONENT = '0x7f800000u';

export interface CountProblem {
  /** Elements of x. */
  n: number;
  /** Place in `found`. */
  k: number;
  /** x is f16. */
  f16: boolean;
}

/** WGSL conditions on a word that holds an f32, or an f16 in its lower or upper half. */
interface Conditions {
  readonly single: string;
  readonly lower: string;
  readonly upper: string;
}

const counting = (name: string, { single, lower, upper }: Conditions): VariantKernel<CountProblem> =>
  pointwise<CountProblem>(name, ({ n, k, f16 }) => {
    const test = (value: string, index: string): string => /* wgsl */ `
        if (${index} < params.elements && (${value})) {
          atomicAdd(&found[2u * params.k], 1u);
          atomicMax(&found[2u * params.k + 1u], 0xffffffffu - (${index}));
        }`;
    const tests = f16 ? test(lower, '2u * number') + test(upper, '2u * number + 1u') : test(single, 'number');
    return {
      name: f16 ? `${name}/f16` : name,
      n: f16 ? Math.ceil(n / 2) : n,
      bindings: [input('x', 'vec4u')],
      shared: [output('found', 'atomic<u32>')],
      uniforms: { elements: u32(n), k: u32(k) },
      body: /* wgsl */ `
      for (var c = 0u; c < 4u; c++) {
        let word = x[i][c];
        let number = (i + params.first_vector) * 4u + c;
        ${tests}
      }`,
      flopsPerElement: 1,
    };
  });

export const countNonFinite = counting('count_non_finite', {
  single: `(word & ${F32_EXPONENT}) == ${F32_EXPONENT}`,
  lower: '(word & 0x7c00u) == 0x7c00u',
  upper: '(word & 0x7c000000u) == 0x7c000000u',
});

export const countPoison = counting('count_poison', {
  single: 'word == 0xffffffffu',
  lower: '(word & 0xffffu) == 0xffffu',
  upper: 'word >= 0xffff0000u',
});

const one = (name: string, bindings: ReturnType<typeof input>[], body: string) =>
  launch({
    name,
    bindings,
    wgsl: `@compute @workgroup_size(1) fn main() { ${body} }`,
    grid: [1, 1, 1],
    cost: { flops: 1, bytes: 16 },
  });

export const countNonFiniteLoss: Kernel<object> = () => [
  one(
    'count_non_finite_loss',
    [input('loss', 'u32'), output('guard')],
    `if ((loss[0] & ${F32_EXPONENT}) == ${F32_EXPONENT}) { guard[0] += 1.0; }`,
  ),
];

export const skipNonFiniteStep: Kernel<{ permanent: boolean }> = ({ permanent }) => [
  one(
    permanent ? 'skip_non_finite_step/permanent' : 'skip_non_finite_step',
    [output('norm'), output('guard')],
    `let bad = norm[1] + guard[0]; norm[1] = bad; guard[0] = ${permanent ? 'bad' : '0.0'};`,
  ),
];

/** x[index] becomes NaN in the step whose number is `step`: a fault for drills. */
export const spoil: Kernel<{ index: number; step: number }> = ({ index, step: number }) => [
  launch({
    name: 'spoil',
    bindings: [output('x', 'u32'), input('step', 'u32')],
    uniforms: { index: u32(index), number: u32(number) },
    wgsl: `@compute @workgroup_size(1) fn main() { if (step[0] == params.number) { x[params.index] = 0x7fc00000u; } }`,
    grid: [1, 1, 1],
    cost: { flops: 0, bytes: 4 },
  }),
];
