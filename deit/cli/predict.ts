import { text } from 'node:stream/consumers';
import { DeitError, PhiloxStream, Purpose, add, mul, softmax } from '../../engine/index.ts';
import type { Engine, Recording, Tensor } from '../../engine/index.ts';
import { evaluationPipeline, makeTransform } from '../data/index.ts';
import { collectImages, decodeImage } from '../data/node/index.ts';
import type { Classifier } from '../models/classifier.ts';
import { describeModel } from '../models/registry.ts';
import { classNames } from '../train/node/shipped.ts';
import { openModel } from './model-files.ts';
import { percent } from './progress.ts';
import { withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface PredictOptions extends GlobalOptions {
  weights: string;
  model?: string;
  unreadable: 'fatal' | 'skip';
}

export interface Prediction {
  readonly file: string;
  readonly top5: readonly { class: number; name: string; probability: number }[];
}

/** `deit predict`: the likeliest classes of images. */
export async function predict(paths: readonly string[], options: PredictOptions): Promise<void> {
  const files = await namedImages(paths);
  await withEngine(options, async (engine, say) => {
    const { model, spec, card } = await openModel(engine, options.weights, options.model);
    const { imageSize } = describeModel(spec);
    const { cropPct, interpolation } = card ?? { cropPct: 0.875, interpolation: 'bicubic' as const };
    const transform = makeTransform(evaluationPipeline({ imageSize, cropPct, interpolation }));
    // The evaluation transform draws nothing.
    const still = new PhiloxStream(0, Purpose.augment);
    const names = classNames(card, model.classes);
    const classify = classifier(engine, model, imageSize);
    let skipped = 0;
    for (const file of files) {
      const pixels = new Float32Array(3 * imageSize * imageSize);
      try {
        transform(await decodeImage(file), still, pixels, 0);
      } catch (error) {
        if (!(error instanceof DeitError) || options.unreadable === 'fatal') throw error;
        say(`skipped ${file}: ${error.message.split('\n')[0]}`);
        skipped++;
        continue;
      }
      print({ file, top5: topFive(await classify(pixels), names) }, options.json ?? false);
    }
    if (skipped > 0) say(`${skipped} of ${files.length} images were skipped`);
  });
}

/** The images that the arguments name: files, folders at any depth, and for `-` a path on each line of standard input. */
async function namedImages(paths: readonly string[]): Promise<string[]> {
  const lists = paths.map(async (path) => {
    if (path !== '-') return [path];
    const lines = (await text(process.stdin)).split(/\r?\n/);
    return lines.filter((line) => line.trim() !== '');
  });
  const files = await collectImages((await Promise.all(lists)).flat());
  if (files.length > 0) return files;
  throw new DeitError('bad-data', 'There are no images here.', {
    where: paths.join(', '),
    expected: 'JPEG, PNG or WebP files, folders of them, or - for a list on standard input',
  });
}

/** Pixels [3, size, size] to probabilities, by a forward pass that is recorded once. */
function classifier(
  engine: Engine,
  model: Classifier,
  imageSize: number,
): (pixels: Float32Array) => Promise<Float32Array> {
  const images = engine.empty([1, 3, imageSize, imageSize]).keep('input');
  const probabilities = engine.empty([1, model.classes]).keep('metrics');
  let recording: Recording | null = null;
  const record = (): void => {
    const { cls, dist } = model.heads(images);
    const logits: Tensor = dist ? mul(add(cls, dist), 0.5) : cls;
    engine.copy(softmax(logits), probabilities);
  };
  model.eval();
  return async (pixels) => {
    images.write(pixels);
    if (recording) engine.replay(recording);
    else recording = engine.record(() => engine.noGrad(record));
    return (await probabilities.read()) as Float32Array;
  };
}

const topFive = (probabilities: Float32Array, names: readonly string[]): Prediction['top5'] =>
  Array.from(probabilities, (probability, index) => ({ class: index, name: names[index], probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, 5);

function print(prediction: Prediction, asJson: boolean): void {
  const lines = prediction.top5.map(({ name, probability }) => `  ${percent(probability).padStart(7)}  ${name}`);
  process.stdout.write(`${asJson ? JSON.stringify(prediction) : [prediction.file, ...lines].join('\n')}\n`);
}
