/**
 * y = f(a, b, ...) element by element, over operands that broadcast to the shape of y (NumPy's rule).
 *
 * Four elements of y an invocation. How an operand is read is chosen for each by itself:
 *   number  a constant;
 *   full    as large as y: vectors of four;
 *   row     its dimensions are the last ones that matter, their product divisible by 4 (a bias, a position embedding);
 *   splat   followed by so many broadcast elements, divisible by 4, that one value serves a whole vector (a gate a
 *           channel, a factor per sample);
 *   strided anything else, up to six dimensions after merging neighbours.
 */
import type { ElementwiseSpec } from './elementwise.ts';
import { input, output, require } from './kernel.ts';
import type { Binding } from './kernel.ts';

/** A tensor by its shape, or a number by its f32 bits (so that NaN, infinities and -0 survive JSON). */
export type BroadcastOperand = { readonly shape: readonly number[] } | { readonly bits: number };

export const floatBits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0];

export interface BroadcastSpec {
  name: string;
  /** Shape of y. */
  shape: readonly number[];
  /** Operands by their WGSL names; the binding of operand `a` is `a_data`, that of the result `y_data`. */
  operands: Readonly<Record<string, BroadcastOperand>>;
  functions?: string;
  /** WGSL of f: a vec4f in terms of the operands' names, each a vec4f. */
  formula: string;
  flops: number;
}

const MAX_RANK = 6;

export function broadcastSpec(spec: BroadcastSpec): ElementwiseSpec {
  const names = Object.keys(spec.operands);
  const tensors = names.flatMap((name) => {
    const operand = spec.operands[name];
    return 'shape' in operand ? [{ name, shape: operand.shape }] : [];
  });
  const { sizes, present } = mergeDims(
    spec.shape,
    tensors.map(({ shape }) => shape),
  );
  const n = sizes.reduce((product, size) => product * size, 1);

  const split: Binding[] = [];
  const shared: Binding[] = [];
  const uniforms: Record<string, readonly ['u32', number]> = {};
  const functions: string[] = [spec.functions ?? ''];
  const reads: string[] = [];
  names.forEach((name) => {
    const operand = spec.operands[name];
    if ('bits' in operand) {
      uniforms[name] = ['u32', operand.bits];
      reads.push(`let ${name} = vec4f(bitcast<f32>(params.${name}));`);
      return;
    }
    const data = `${name}_data`;
    const { inner, middle, contiguous } = blockOf(sizes, present[tensors.findIndex((tensor) => tensor.name === name)]);
    if (contiguous && inner === 1 && middle === n) {
      split.push(input(data, 'vec4f'));
      reads.push(`let ${name} = ${data}[i];`);
    } else if (contiguous && middle === 1) {
      shared.push(input(data));
      reads.push(`let ${name} = vec4f(${data}[0]);`);
    } else if (contiguous && inner === 1 && middle % 4 === 0) {
      shared.push(input(data, 'vec4f'));
      uniforms[`${name}_middle`] = ['u32', middle / 4];
      reads.push(`let ${name} = ${data}[(i + params.first_vector) % params.${name}_middle];`);
    } else if (contiguous && inner % 4 === 0) {
      shared.push(input(data));
      uniforms[`${name}_inner`] = ['u32', inner / 4];
      uniforms[`${name}_middle`] = ['u32', middle];
      reads.push(
        `let ${name} = vec4f(${data}[(i + params.first_vector) / params.${name}_inner % params.${name}_middle]);`,
      );
    } else {
      require(sizes.length <= MAX_RANK, spec.name, `at most ${MAX_RANK} dimensions after merging`, sizes);
      shared.push(input(data));
      const strides = stridesOf(sizes, present[tensors.findIndex((tensor) => tensor.name === name)]);
      sizes.forEach((size, d) => (uniforms[`size${d}`] = ['u32', size]));
      strides.forEach((stride, d) => (uniforms[`${name}_stride${d}`] = ['u32', stride]));
      functions.push(stridedReadWgsl(name, sizes.length));
      reads.push(`let ${name} = read_${name}(4u * (i + params.first_vector));`);
    }
  });
  return {
    name: spec.name,
    n,
    bindings: [...split, output('y_data', 'vec4f')],
    shared,
    uniforms,
    functions: functions.join('\n'),
    body: `${reads.join('\n      ')}\n      y_data[i] = ${spec.formula};`,
    flopsPerElement: spec.flops,
  };
}

/**
 * Drops dimensions of size 1 and merges neighbours that the same operands broadcast along. `present[k][d]` says whether
 * operand k has the dimension d of the result, or broadcasts along it.
 */
function mergeDims(shape: readonly number[], operands: readonly (readonly number[])[]) {
  const sizes: number[] = [];
  const present: boolean[][] = operands.map(() => []);
  shape.forEach((size, d) => {
    if (size === 1) return;
    const flags = operands.map((operand) => (operand[operand.length - shape.length + d] ?? 1) !== 1);
    const last = sizes.length - 1;
    if (last >= 0 && flags.every((flag, k) => flag === present[k][last])) sizes[last] *= size;
    else {
      sizes.push(size);
      flags.forEach((flag, k) => present[k].push(flag));
    }
  });
  return { sizes, present };
}

/** The operand as [broadcast, middle, inner broadcast], if the dimensions that it has are neighbours. */
function blockOf(sizes: readonly number[], present: readonly boolean[]) {
  const first = present.indexOf(true);
  const last = present.lastIndexOf(true);
  const product = (from: number, to: number) => sizes.slice(from, to).reduce((a, b) => a * b, 1);
  if (first < 0) return { inner: product(0, sizes.length), middle: 1, contiguous: true };
  return {
    inner: product(last + 1, sizes.length),
    middle: product(first, last + 1),
    contiguous: present.slice(first, last + 1).every(Boolean),
  };
}

function stridesOf(sizes: readonly number[], present: readonly boolean[]): number[] {
  const strides: number[] = [];
  let step = 1;
  for (let d = sizes.length - 1; d >= 0; d--) {
    strides.unshift(present[d] ? step : 0);
    if (present[d]) step *= sizes[d];
  }
  return strides;
}

/** WGSL `read_<name>(element) -> vec4f`: the operand at four consecutive elements of the result. */
function stridedReadWgsl(name: string, rank: number): string {
  const steps: string[] = [];
  for (let d = rank - 1; d > 0; d--) {
    steps.push(`at += (rest % params.size${d}) * params.${name}_stride${d}; rest /= params.size${d};`);
  }
  return /* wgsl */ `
fn at_${name}(element: u32) -> f32 {
  var rest = element;
  var at = 0u;
  ${steps.join('\n  ')}
  return ${name}_data[at + rest * params.${name}_stride0];
}
fn read_${name}(element: u32) -> vec4f {
  return vec4f(at_${name}(element), at_${name}(element + 1u), at_${name}(element + 2u), at_${name}(element + 3u));
}
`;
}
