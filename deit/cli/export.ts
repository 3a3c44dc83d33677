import { readFileSync } from 'node:fs';
import { DeitError } from '../../engine/index.ts';
import { describeModel } from '../models/registry.ts';
import { saveModel } from '../train/node/checkpoint.ts';
import type { ModelCard } from '../train/node/model-card.ts';
import { classNames } from '../train/node/shipped.ts';
import { openModel } from './model-files.ts';
import { withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface ExportOptions extends GlobalOptions {
  weights: string;
  model?: string;
  classNames?: string;
  trainedOn?: string;
  dtype: 'f32' | 'f16';
  output: string;
}

/** `deit export`: a checkpoint of any naming as safetensors under timm's names, in f32 or f16, with a card. */
export async function exportModel(options: ExportOptions): Promise<void> {
  await withEngine(options, async (engine, say) => {
    const { model, spec, card } = await openModel(engine, options.weights, options.model);
    const described: ModelCard = {
      cropPct: 0.875,
      interpolation: 'bicubic',
      ...card,
      model: spec,
      imageSize: describeModel(spec).imageSize,
      classes: options.classNames ? readNames(options.classNames, model.classes) : classNames(card, model.classes),
      data: options.trainedOn ?? card?.data ?? 'unknown',
    };
    await saveModel(options.output, model, described, options.dtype === 'f16' ? 'F16' : 'F32');
    say(
      `wrote ${spec} (${model.numParameters().toLocaleString('en-US')} parameters, ${options.dtype}) to ${options.output}`,
    );
    if (options.json) process.stdout.write(`${JSON.stringify({ output: options.output, ...described })}\n`);
  });
}

/** Class names from a text file, one a line. */
function readNames(path: string, classes: number): string[] {
  const names = readFileSync(path, 'utf8')
    .replace(/\r?\n$/, '')
    .split(/\r?\n/);
  if (names.length === classes && names.every((name) => name !== '')) return names;
  throw new DeitError('bad-data', 'The list of class names does not fit the model.', {
    where: path,
    expected: `${classes} lines, one name each`,
    found: `${names.length} lines`,
  });
}
