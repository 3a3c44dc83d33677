import type { DType, Engine, Tensor } from '../../engine/node.ts';
import type { Kernel } from '../../kernels/lib/kernel.ts';

/** The result `y`, of n elements, of a kernel on these operands. */
export async function resultOf<Problem extends object>(
  gpu: Engine,
  kernel: Kernel<Problem>,
  problem: Problem,
  operands: Readonly<Record<string, Tensor>>,
  n: number,
  dtype: DType = 'f32',
): Promise<number[]> {
  const y = gpu.empty([n], dtype);
  gpu.run('test', kernel, problem, { ...operands, y });
  return Array.from(await y.read());
}
