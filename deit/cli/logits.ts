import { add, mul } from '../../engine/index.ts';
import type { Tensor } from '../../engine/index.ts';
import { storeFloats, writeSafetensors } from '../../engine/node.ts';
import type { StoredTensor } from '../../engine/node.ts';
import { openModel, readImages } from './model-files.ts';
import { withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

export interface TensorFileOptions extends GlobalOptions {
  model: string;
  weights: string;
  input: string;
  output: string;
}

/** `deit logits`: evaluation output for given images, as safetensors. */
export async function logits(options: TensorFileOptions): Promise<void> {
  await withEngine(options, async (engine, say) => {
    const { model } = await openModel(engine, options.weights, options.model);
    const { images } = await readImages(engine, options.input, options.model);
    model.eval();
    const reads = engine.scope(() =>
      engine.noGrad(() => {
        const { cls, dist } = model.heads(images);
        const named: [string, Tensor][] = dist
          ? [
              ['logits', mul(add(cls, dist), 0.5)],
              ['logits_cls', cls],
              ['logits_dist', dist],
            ]
          : [['logits', cls]];
        return named.map(([name, tensor]) => [name, store(tensor)] as const);
      }),
    );
    const tensors = new Map<string, StoredTensor>();
    for (const [name, read] of reads) tensors.set(name, await read);
    await writeSafetensors(options.output, tensors);
    say(`wrote ${[...tensors.keys()].join(', ')} for ${images.shape[0]} images to ${options.output}`);
    if (options.json) process.stdout.write(`${JSON.stringify({ output: options.output, images: images.shape[0] })}\n`);
  });
}

/** Reads a tensor back and keeps it as f32 for a file. */
export const store = async (tensor: Tensor): Promise<StoredTensor> =>
  storeFloats((await tensor.read()) as Float32Array, tensor.shape);
