import { DeitError, findNonFinite, storeFloats, toInt32 } from '../../engine/index.ts';
import type { Tensor } from '../../engine/index.ts';
import { writeSafetensors } from '../../engine/node.ts';
import type { StoredTensor } from '../../engine/node.ts';
import { readTensors, stateValues, withModulePaths } from '../../nn/index.ts';
import type { StateValue } from '../../nn/index.ts';
import { distillationLoss } from '../distillation.ts';
import type { Distillation, Target } from '../distillation.ts';
import { explainNonFinite, firstNonFinite } from '../non-finite.ts';
import type { TensorFileOptions } from './logits.ts';
import { finite, floats, named, readImages } from './model-files.ts';
import { buildModel } from '../train/node/open-model.ts';
import { parseNumber, withEngine } from './session.ts';

interface GradientOptions extends TensorFileOptions {
  distillation: Distillation['type'];
  alpha: string;
  tau: string;
  klScaling: Distillation['scaling'];
  smoothing: string;
  dropPath: string;
  /** Names of the options that were given, and not left at their defaults. */
  given: readonly string[];
}

/** The options of the distillation term that each type has a use for. */
const TERMS = { none: [], soft: ['alpha', 'tau', 'klScaling'], hard: ['alpha'] } as const;
const FLAGS = { alpha: '--alpha', tau: '--tau', klScaling: '--kl-scaling' } as const;

/** `deit gradients`: training loss and the gradient of every parameter under its timm name, as safetensors. */
export async function gradients(options: GradientOptions): Promise<void> {
  const { input, output } = options;
  const share = { least: 0, most: 1 };
  const dropPath = parseNumber(options.dropPath, '--drop-path', share);
  const smoothing = parseNumber(options.smoothing, '--smoothing', share);
  const distillation: Distillation = {
    type: options.distillation,
    alpha: parseNumber(options.alpha, '--alpha', share),
    tau: parseNumber(options.tau, '--tau', { least: Number.MIN_VALUE }),
    scaling: options.klScaling,
  };
  await withEngine(options, async (engine, say) => {
    const used: readonly string[] = TERMS[distillation.type];
    for (const [name, flag] of Object.entries(FLAGS)) {
      if (options.given.includes(name) && !used.includes(name)) {
        say(`note: ${flag} has no effect with --distillation ${distillation.type}`);
      }
    }
    const { model, spec } = await buildModel(engine, options, say, { dropPath });
    const { images: pixels, shape, tensors } = await readImages(input, spec);
    const given = (name: string): StateValue => floats(named(tensors, name, input));
    const targets = targetsOf(tensors, { input, smoothing, classes: model.classes });
    const teacher = distillation.type === 'none' ? null : given('teacher_logits');
    const upload = ({ data, shape }: StateValue): Tensor => engine.tensor(data, shape).keep('input');
    const target: Target =
      'labels' in targets
        ? { labels: engine.tensor(targets.labels, [targets.labels.length], 'i32').keep('input'), smoothing }
        : { distribution: upload(targets.distribution) };
    const [images, teacherLogits] = [upload({ data: pixels, shape }), teacher && upload(teacher)];
    model.train();
    const parameters = model.namedParameters();
    const backward = (): Tensor => {
      const { total } = distillationLoss(distillation, model.heads(images), target, teacherLogits);
      total.backward();
      return total;
    };
    const reads = engine.scope(() => {
      const loss = backward();
      // A parameter that the loss does not depend on (head_dist without distillation) has a gradient of zero.
      const all = parameters.map(([name, { grad, shape }]) => [name, grad ?? engine.zeros(shape)] as const);
      return [['loss', loss] as const, ...all].map(([name, tensor]) => ({
        name,
        shape: tensor.shape,
        read: tensor.read(),
      }));
    });
    const results = new Map<string, StoredTensor>();
    for (const { name, shape: own, read } of reads) {
      const values = (await read) as Float32Array;
      if (firstNonFinite(values) >= 0) {
        const inputs = new Map<string, StateValue>([[`${input}, tensor images`, { data: pixels, shape }]]);
        if (teacher) inputs.set(`${input}, tensor teacher_logits`, teacher);
        throw await explainNonFinite(name === 'loss' ? 'loss' : `gradient of ${name}`, {
          inputs,
          weights: async () => stateValues(await readTensors(model.stateDict())),
          source: options.weights,
          examine: () => findNonFinite(engine, () => withModulePaths(engine, model, '', () => void backward())),
        });
      }
      results.set(name, storeFloats(values, own));
    }
    await writeSafetensors(output, results);
    say(`wrote the loss and ${parameters.length} gradients to ${output}`);
    if (options.json) process.stdout.write(`${JSON.stringify({ output, parameters: parameters.length })}\n`);
  });
}

interface TargetSource {
  readonly input: string;
  readonly smoothing: number;
  readonly classes: number;
}

/** `targets` of the file, a distribution over classes for each image, or else `labels`. */
function targetsOf(
  tensors: ReadonlyMap<string, StoredTensor>,
  { input, smoothing, classes }: TargetSource,
): { readonly labels: Int32Array } | { readonly distribution: StateValue } {
  const distribution = tensors.get('targets');
  if (distribution) {
    if (smoothing > 0) {
      throw new DeitError('bad-config', 'Label smoothing is for labels; this file has distributions.', {
        where: `--smoothing ${smoothing} and ${input}, tensor targets`,
        fix: 'leave out --smoothing and smooth the targets themselves, or give labels in place of targets',
      });
    }
    return { distribution: finite(distribution, input, 'targets') };
  }
  const labels = toInt32(named(tensors, 'labels', input), `${input}, tensor labels`);
  const outside = labels.find((label) => label < 0 || label >= classes);
  if (outside !== undefined) {
    throw new DeitError('bad-data', 'A label is no class of the model.', {
      where: `${input}, tensor labels`,
      expected: `0 to ${classes - 1}`,
      found: String(outside),
    });
  }
  return { labels };
}
