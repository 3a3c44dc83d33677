import { DeitError, toInt32 } from '../../engine/index.ts';
import type { Engine } from '../../engine/index.ts';
import { writeSafetensors } from '../../engine/node.ts';
import type { StoredTensor } from '../../engine/node.ts';
import { distillationLoss } from '../distillation.ts';
import type { Distillation, Target } from '../distillation.ts';
import { store } from './logits.ts';
import type { TensorFileOptions } from './logits.ts';
import { floats, named, openModel, readImages } from './model-files.ts';
import { parseNumber, withEngine } from './session.ts';

interface GradientOptions extends TensorFileOptions {
  distillation: Distillation['type'];
  alpha: string;
  tau: string;
  klScaling: Distillation['scaling'];
  smoothing: string;
  dropPath: string;
}

/** `deit gradients`: training loss and the gradient of every parameter under its timm name, as safetensors. */
export async function gradients(options: GradientOptions): Promise<void> {
  await withEngine(options, async (engine, say) => {
    const dropPath = parseNumber(options.dropPath, '--drop-path');
    const { model } = await openModel(engine, options.weights, options.model, { dropPath });
    const { images, tensors } = await readImages(engine, options.input, options.model);
    const target = readTarget(engine, tensors, options, model.classes);
    const teacher =
      options.distillation === 'none' ? null : floats(engine, named(tensors, 'teacher_logits', options.input));
    const distillation: Distillation = {
      type: options.distillation,
      alpha: parseNumber(options.alpha, '--alpha'),
      tau: parseNumber(options.tau, '--tau'),
      scaling: options.klScaling,
    };
    model.train();
    const parameters = model.namedParameters();
    const reads = engine.scope(() => {
      const { total } = distillationLoss(distillation, model.heads(images), target, teacher);
      total.backward();
      const zero = (shape: readonly number[]) => engine.zeros(shape);
      return new Map([
        ['loss', store(total)],
        // A parameter that the loss does not depend on (head_dist without distillation) has a gradient of zero.
        ...parameters.map(([name, { grad, shape }]) => [name, store(grad ?? zero(shape))] as const),
      ]);
    });
    const results = new Map<string, StoredTensor>();
    for (const [name, read] of reads) results.set(name, await read);
    await writeSafetensors(options.output, results);
    say(`wrote the loss and ${parameters.length} gradients to ${options.output}`);
    if (options.json) {
      process.stdout.write(`${JSON.stringify({ output: options.output, parameters: parameters.length })}\n`);
    }
  });
}

function readTarget(
  engine: Engine,
  tensors: ReadonlyMap<string, StoredTensor>,
  { input, smoothing }: GradientOptions,
  classes: number,
): Target {
  const distribution = tensors.get('targets');
  if (distribution) return { distribution: floats(engine, distribution) };
  const labels = toInt32(named(tensors, 'labels', input), `${input}, tensor labels`);
  const outside = labels.find((label) => label < 0 || label >= classes);
  if (outside !== undefined) {
    throw new DeitError('bad-data', 'A label is no class of the model.', {
      where: `${input}, tensor labels`,
      expected: `0 to ${classes - 1}`,
      found: String(outside),
    });
  }
  return {
    labels: engine.tensor(labels, [labels.length], 'i32').keep('input'),
    smoothing: parseNumber(smoothing, '--smoothing'),
  };
}
