import type { Kernel } from '../kernels/lib/kernel.ts';
import type { DType } from './dtype.ts';
import type { Tensor } from './tensor.ts';
import type { Shape } from './tensor-shape.ts';

/** What forward and backward passes have in common: they make tensors and record kernels on them. */
export interface Workspace {
  /** An uninitialised tensor: a kernel must write every element of it. */
  empty(shape: Shape, dtype?: DType): Tensor;
  /** Records a kernel on tensors given by the names of its bindings. */
  run<Problem extends object>(
    kernel: Kernel<Problem>,
    problem: Problem,
    tensors: Readonly<Record<string, Tensor>>,
  ): void;
}
