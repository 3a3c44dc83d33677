import type { Tensor } from '../engine/index.ts';

/** Undoes `Engine.pack`: gives each tensor memory of its own again, and frees the flat buffer. */
export function unpack(flat: Tensor, tensors: readonly Tensor[]): void {
  const { engine } = flat;
  const { label } = flat.storage;
  for (const tensor of tensors) {
    const own = engine.empty(tensor.shape, tensor.dtype).keep(label);
    engine.copy(tensor, own);
    tensor.moveTo(own);
  }
  engine.free(flat);
}
