import { storeFloats, writeSafetensors } from '../../engine/node.ts';
import type { StoredTensor } from '../../engine/node.ts';
import { ForwardPass } from '../forward-pass.ts';
import { averageLogits } from '../logits.ts';
import type { HostLogits } from '../logits.ts';
import { readImages } from './model-files.ts';
import { buildModel } from '../train/node/open-model.ts';
import { withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

export interface TensorFileOptions extends GlobalOptions {
  model?: string;
  weights: string;
  ema?: boolean;
  input: string;
  output: string;
}

/** Images in one forward pass. */
const AT_ONCE = 64;

/** `deit logits`: evaluation output for given images, as safetensors. */
export async function logits(options: TensorFileOptions): Promise<void> {
  await withEngine(options, async (engine, say) => {
    const { model, spec } = await buildModel(engine, options, say);
    const { images, shape } = await readImages(options.input, spec);
    const pass = new ForwardPass(engine, model, Math.min(shape[0], AT_ONCE), shape[2]);
    const size = images.length / Math.max(1, shape[0]);
    const heads: HostLogits[] = [];
    for (let first = 0; first < shape[0]; first += AT_ONCE) {
      const part = images.subarray(first * size, (first + AT_ONCE) * size);
      heads.push(await pass.run(part, (row) => `${options.input}, image ${first + row} of tensor images`));
    }
    const whole = (of: (part: HostLogits) => Float32Array): StoredTensor =>
      storeFloats(Float32Array.from(heads.flatMap((part) => [...of(part)])), [shape[0], model.classes]);
    const tensors = new Map([['logits', whole(averageLogits)]]);
    if (model.distilled) {
      tensors.set(
        'logits_cls',
        whole(({ cls }) => cls),
      );
      tensors.set(
        'logits_dist',
        whole(({ dist }) => dist!),
      );
    }
    await writeSafetensors(options.output, tensors);
    say(`wrote ${[...tensors.keys()].join(', ')} for ${shape[0]} images to ${options.output}`);
    if (options.json) process.stdout.write(`${JSON.stringify({ output: options.output, images: shape[0] })}\n`);
  });
}
