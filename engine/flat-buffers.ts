/** Many tensors in one buffer, so that an update of all of them is one dispatch. */
import { fill } from '../kernels/fill/index.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import { BLOCK_ELEMENTS, blockWord } from '../kernels/lib/flat-update.ts';
import { Tensor } from './tensor.ts';
import type { TensorEngine } from './tensor.ts';

/** Where each tensor begins in the buffer: bindings begin at multiples of this on every device. */
const ALIGNMENT = 256;

/** See `Engine.pack`. */
export function pack(engine: TensorEngine, tensors: readonly Tensor[], label: string): Tensor {
  const offsets: number[] = [];
  let bytes = 0;
  for (const tensor of tensors) {
    offsets.push(bytes);
    bytes += Math.ceil(tensor.region.size / ALIGNMENT) * ALIGNMENT;
  }
  const storage = engine.allocate(Math.max(ALIGNMENT, bytes), label);
  const flat = new Tensor(engine, storage, [storage.bytes / 4], 'f32');
  engine.run('pack', fill, { n: flat.size, value: 0 }, { y: flat });
  tensors.forEach((tensor, i) => {
    const home = new Tensor(engine, storage, tensor.shape, tensor.dtype, offsets[i]);
    engine.copy(tensor, home);
    if (tensor.storage.kept) engine.free(tensor);
    tensor.moveTo(home);
  });
  return flat;
}

/**
 * Which elements of a flat buffer of `tensors` (in the order in which they were packed) are real, and to which group of
 * settings each tensor belongs: a u32 tensor with one word for 64 elements, for the updates below.
 */
export function blockTable(
  engine: TensorEngine,
  tensors: readonly { readonly size: number }[],
  groupOf: (index: number) => number = () => 0,
): Tensor {
  const words: number[] = [];
  tensors.forEach(({ size }, index) => {
    const group = groupOf(index);
    if (!Number.isInteger(group) || group < 0 || group >= 2 ** 24) {
      throw new DeitError('bad-argument', 'A group is a whole number.', { where: 'blockTable', found: String(group) });
    }
    for (let first = 0; first < Math.max(1, size); first += BLOCK_ELEMENTS) {
      words.push(blockWord(Math.min(BLOCK_ELEMENTS, size - first), group));
    }
  });
  return engine.tensor(words, [words.length], 'u32');
}

/**
 * A flat gradient buffer of the same layout as `flat`, into which `parameters` were packed; backward writes the gradient
 * of each parameter to its place there (`gradHome`). The buffer is zero at first, and kept.
 */
export function flatGradients(parameters: readonly Tensor[], flat: Tensor): Tensor {
  const gradients = flat.engine.zeros(flat.shape).keep('gradient');
  for (const parameter of parameters) {
    if (parameter.storage !== flat.storage) {
      throw new DeitError('bad-argument', 'A parameter does not live in the flat buffer.', {
        where: `flatGradients, ${parameter.toString()}`,
        fix: 'pack it with the others first',
      });
    }
    const { shape, offset, gradHome } = parameter;
    flat.engine.undoIfFailed(() => (parameter.gradHome = gradHome));
    parameter.gradHome = new Tensor(
      flat.engine,
      gradients.storage,
      shape,
      'f32',
      gradients.offset + offset - flat.offset,
    );
  }
  return gradients;
}
