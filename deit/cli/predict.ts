import { createInterface } from 'node:readline/promises';
import { DeitError, PhiloxStream, Purpose } from '../../engine/index.ts';
import { makeTransform } from '../data/index.ts';
import type { RgbImage } from '../data/index.ts';
import { collectImages, decodeImage, READ_FORMATS } from '../data/node/index.ts';
import { ForwardPass } from '../forward-pass.ts';
import { averageLogits, likeliest } from '../logits.ts';
import { describeModel } from '../models/registry.ts';
import { classNames } from '../train/node/class-names.ts';
import { evaluationOf } from '../weights/model-card.ts';
import { buildModel } from '../train/node/open-model.ts';
import type { ModelOptions } from './model-files.ts';
import { percent } from './progress.ts';
import { withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface PredictOptions extends GlobalOptions, ModelOptions {
  unreadable: 'fatal' | 'skip';
}

export interface Prediction {
  readonly file: string;
  readonly top5: readonly { class: number; name: string; probability: number }[];
}

/** `deit predict`: the likeliest classes of images. */
export async function predict(paths: readonly string[], options: PredictOptions): Promise<void> {
  const { files, leftOut } = await namedImages(paths);
  await withEngine(options, async (engine, say) => {
    if (leftOut) say(`left out: ${leftOut}`);
    const { model, spec, card } = await buildModel(engine, options, say);
    const { imageSize } = describeModel(spec);
    const transform = makeTransform(evaluationOf(card, imageSize));
    // The evaluation transform draws nothing.
    const still = new PhiloxStream(0, Purpose.augment);
    const names = classNames(card, model.classes, say);
    const pass = new ForwardPass(engine, model, 1, imageSize);
    const pixels = new Float32Array(3 * imageSize * imageSize);
    let skipped = 0;
    for (const { file, decoded } of decodedAhead(files)) {
      try {
        transform(await decoded, still, pixels, 0);
      } catch (error) {
        if (!(error instanceof DeitError) || options.unreadable === 'fatal') throw error;
        say(`skipped ${file}: ${error.message.split('\n')[0]}`);
        skipped++;
        continue;
      }
      const best = likeliest(averageLogits(await pass.run(pixels, () => file)), 5);
      print({ file, top5: best.map((answer) => ({ name: names[answer.class], ...answer })) }, options.json ?? false);
    }
    if (skipped > 0) say(`${skipped} of ${files.length} images were skipped`);
  });
}

/** Images that are decoded while those before them are classified. */
const AHEAD = 4;

interface Decoded {
  readonly file: string;
  readonly decoded: Promise<RgbImage>;
}

/** Images in order, decoded some ahead of their turn. */
function* decodedAhead(files: readonly string[]): Generator<Decoded> {
  const ahead: Decoded[] = [];
  for (const file of files) {
    const decoded = decodeImage(file);
    // What cannot be decoded is told when its turn comes.
    decoded.catch(() => undefined);
    ahead.push({ file, decoded });
    if (ahead.length > AHEAD) yield ahead.shift()!;
  }
  yield* ahead;
}

/**
 * The images that the arguments name: files, folders at any depth, and for `-` a path on each line of standard input; and
 * what the folders hold besides.
 */
async function namedImages(paths: readonly string[]): Promise<{ files: string[]; leftOut: string }> {
  const named: string[] = [];
  for (const path of paths) {
    if (path !== '-') named.push(path);
    else for await (const line of createInterface({ input: process.stdin })) if (line.trim() !== '') named.push(line);
  }
  const found = await collectImages(named);
  if (found.files.length > 0) return found;
  throw new DeitError('bad-data', 'There are no images here.', {
    where: paths.join(', '),
    expected: `${READ_FORMATS} files, folders of them, or - for a list on standard input`,
    found: found.leftOut || 'nothing',
  });
}

function print(prediction: Prediction, asJson: boolean): void {
  const lines = prediction.top5.map(({ name, probability }) => `  ${percent(probability).padStart(7)}  ${name}`);
  process.stdout.write(`${asJson ? JSON.stringify(prediction) : [prediction.file, ...lines].join('\n')}\n`);
}
