import { parseSafetensors, serializeSafetensors } from '../../engine/index.ts';
import type { Safetensors } from '../../engine/index.ts';
import { shareBytes } from './communicator.ts';
import type { Communicator } from './communicator.ts';

/** The tensors and metadata of rank 0, on all; the others pass null. They travel as a safetensors file. */
export async function shareTensors(ranks: Communicator, own: Safetensors | null): Promise<Safetensors> {
  if (ranks.size === 1) return own!;
  const file = await shareBytes(ranks, own ? serializeSafetensors(own.tensors, own.metadata) : new Uint8Array(0));
  return own ?? parseSafetensors(file, 'the weights of rank 0');
}
