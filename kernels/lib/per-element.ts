import { output } from './kernel.ts';
import type { Binding, Uniforms } from './kernel.ts';
import type { ElementwiseSpec } from './elementwise.ts';

export interface PerElementSpec {
  name: string;
  /** Elements of y. */
  n: number;
  type: 'f32' | 'i32' | 'u32';
  /** Read wherever the element function likes: bound whole. */
  inputs: readonly Binding[];
  uniforms: Uniforms;
  /** WGSL that declares `fn element(at: u32) -> <type>`: element `at` of y, counted in row-major order. */
  functions: string;
  flopsPerElement: number;
  /** Bytes of the inputs that the formula reads per element of y. */
  sharedBytes: number;
}

/** y[at] = element(at), for what does not read its operands at `at`. Binding y, and the inputs. */
export const perElement = ({ type, inputs, ...spec }: PerElementSpec): ElementwiseSpec => ({
  ...spec,
  bindings: [output('y', `vec4<${type}>`)],
  shared: inputs,
  body: `let at = 4u * (i + params.first_vector);
      y[i] = vec4<${type}>(element(at), element(at + 1u), element(at + 2u), element(at + 3u));`,
});
