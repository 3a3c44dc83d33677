import { i32, u32 } from './kernel.ts';
import type { Uniforms } from './kernel.ts';

/*
 * A position in three nested dimensions, such as a column, row and image, which advances by a constant number of positions at a
 * time, and addresses that follow it: found by divisions once, then by additions.
 */

/** Of an address: elements from one position to the next in the innermost, middle and outermost dimension. */
export type Strides = readonly [inner: number, middle: number, outer: number];

/** WGSL variables: positions run over the first of three, then over the second, then over the third. */
export interface NestedNames {
  readonly names: readonly [inner: string, middle: string, outer: string];
  readonly addresses: readonly string[];
}

export interface NestedIndex {
  /** Positions of the inner two. */
  readonly sizes: readonly [inner: number, middle: number];
  readonly step: number;
  readonly addresses: Readonly<Record<string, Strides>>;
}

export const nestedUniforms = ({ sizes, step, addresses }: NestedIndex): Uniforms => {
  const [inner, middle] = sizes;
  const next = [step % inner, Math.floor(step / inner) % middle, Math.floor(step / inner / middle)];
  const ofAddress = ([name, strides]: readonly [string, Strides]): [string, Uniforms[string]][] => [
    [`${name}_inner`, u32(strides[0])],
    [`${name}_middle`, u32(strides[1])],
    [`${name}_outer`, u32(strides[2])],
    [`${name}_next`, u32(next.reduce((sum, n, i) => sum + n * strides[i], 0))],
    [`${name}_carry_inner`, i32(strides[1] - inner * strides[0])],
    [`${name}_carry_middle`, i32(strides[2] - middle * strides[1])],
  ];
  return {
    inner_size: u32(inner),
    middle_size: u32(middle),
    inner_next: u32(next[0]),
    middle_next: u32(next[1]),
    outer_next: u32(next[2]),
    ...Object.fromEntries(Object.entries(addresses).flatMap(ofAddress)),
  };
};

/** WGSL: declares the variables at position `first`, one or four at once. */
export const startNested = ({ names, addresses }: NestedNames, first: string): string => {
  const [inner, middle, outer] = names;
  const address = (name: string): string =>
    `var ${name} = ${inner} * params.${name}_inner + ${middle} * params.${name}_middle + ${outer} * params.${name}_outer;`;
  return /* wgsl */ `
  var ${inner} = (${first}) % params.inner_size;
  var ${middle} = (${first}) / params.inner_size % params.middle_size;
  var ${outer} = (${first}) / params.inner_size / params.middle_size;
  ${addresses.map(address).join('\n  ')}`;
};

/** WGSL: a step further. What is past the end of a dimension is carried into the next. */
export const advanceNested = ({ names, addresses }: NestedNames, type: 'u32' | 'vec4u' = 'u32'): string => {
  const [inner, middle, outer] = names;
  const where = (value: string, condition: string): string => `select(${type}(0u), ${type}(${value}), ${condition})`;
  const address = (name: string): string =>
    `${name} += params.${name}_next + ${where(`u32(params.${name}_carry_inner)`, 'ends_inner')} + ${where(`u32(params.${name}_carry_middle)`, 'ends_middle')};`;
  return /* wgsl */ `
    ${inner} += params.inner_next;
    let ends_inner = ${inner} >= ${type}(params.inner_size);
    ${inner} -= ${where('params.inner_size', 'ends_inner')};
    ${middle} += params.middle_next + ${where('1u', 'ends_inner')};
    let ends_middle = ${middle} >= ${type}(params.middle_size);
    ${middle} -= ${where('params.middle_size', 'ends_middle')};
    ${outer} += params.outer_next + ${where('1u', 'ends_middle')};
    ${addresses.map(address).join('\n    ')}`;
};
