import { fill } from '../kernels/accumulate/index.ts';
import type { Engine } from './engine.ts';
import { Storage } from './gpu/storage.ts';
import { Tensor } from './tensor.ts';

/** Where each tensor begins in the buffer: bindings begin at multiples of this on every device. */
const ALIGNMENT = 256;

/** See `Engine.pack`. */
export function pack(engine: Engine, tensors: readonly Tensor[], label: string): Tensor {
  const offsets: number[] = [];
  let bytes = 0;
  for (const tensor of tensors) {
    offsets.push(bytes);
    bytes += Math.ceil(tensor.region.size / ALIGNMENT) * ALIGNMENT;
  }
  const storage = new Storage(Math.max(ALIGNMENT, bytes), label, true);
  const flat = new Tensor(engine, storage, [storage.bytes / 4], 'f32');
  engine.run('pack', fill, { n: flat.size, value: 0 }, { y: flat });
  tensors.forEach((tensor, i) => {
    const home = new Tensor(engine, storage, tensor.shape, tensor.dtype, offsets[i]);
    engine.copy(tensor, home);
    if (tensor.storage.kept) engine.free(tensor);
    tensor.storage = storage;
    tensor.offset = offsets[i];
  });
  return flat;
}
