import { DeitError, Purpose, PhiloxStream, add, mul, softmax } from '../../engine/index.ts';
import { evaluationPipeline, makeTransform } from '../data/index.ts';
import { decodeImage } from '../data/node/index.ts';
import { describeModel } from '../models/registry.ts';
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
export async function predict(files: readonly string[], options: PredictOptions): Promise<void> {
  await withEngine(options, async (engine, say) => {
    const { model, spec, card } = await openModel(engine, options.weights, options.model);
    const { imageSize } = describeModel(spec);
    const { cropPct, interpolation } = card ?? { cropPct: 0.875, interpolation: 'bicubic' as const };
    const transform = makeTransform(evaluationPipeline({ imageSize, cropPct, interpolation }));
    const still = new PhiloxStream(0, Purpose.augment);
    model.eval();
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
      const probabilities = await engine.scope(() =>
        engine.noGrad(() => {
          const { cls, dist } = model.heads(engine.tensor(pixels, [1, 3, imageSize, imageSize]));
          return softmax(dist ? mul(add(cls, dist), 0.5) : cls).read();
        }),
      );
      const prediction: Prediction = {
        file,
        top5: [...probabilities]
          .map((probability, index) => ({ class: index, name: card?.classes[index] ?? `class ${index}`, probability }))
          .sort((a, b) => b.probability - a.probability)
          .slice(0, 5),
      };
      if (options.json) process.stdout.write(`${JSON.stringify(prediction)}\n`);
      else {
        process.stdout.write(`${file}\n`);
        for (const { name, probability } of prediction.top5) {
          process.stdout.write(`  ${percent(probability).padStart(7)}  ${name}\n`);
        }
      }
    }
    if (skipped > 0) say(`${skipped} of ${files.length} images were skipped`);
  });
}
