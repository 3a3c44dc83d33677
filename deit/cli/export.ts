import { readFileSync } from 'node:fs';
import { DeitError } from '../../engine/index.ts';
import { parseClassNames } from '../data/index.ts';
import { writeHuggingFaceFolder } from '../export/node/huggingface-folder.ts';
import { writeOnnxFile } from '../export/node/onnx-file.ts';
import type { Classifier } from '../models/classifier.ts';
import { describeModel } from '../models/registry.ts';
import { saveModel } from '../train/node/checkpoint.ts';
import type { ModelCard } from '../weights/model-card.ts';
import { knownClasses } from '../train/node/class-names.ts';
import { buildModel } from '../train/node/open-model.ts';
import type { ModelOptions } from './model-files.ts';
import { withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface ExportOptions extends GlobalOptions, ModelOptions {
  classNames?: string;
  trainedOn?: string;
  format?: Format;
  dtype: 'f32' | 'f16';
  heads: 'average' | 'both';
  output: string;
}

type Format = 'safetensors' | 'onnx' | 'huggingface';

/** Writes a model in one format; the line that it returns says what a user should know of the file. */
type Writer = (model: Classifier, card: ModelCard, options: ExportOptions) => Promise<string>;

const writers: Readonly<Record<Format, Writer>> = {
  safetensors: async (model, card, { output, dtype }) => {
    await saveModel(output, model, card, dtype === 'f16' ? 'F16' : 'F32');
    return `${dtype}, timm's names`;
  },
  onnx: (model, card, { output, dtype, heads }) => writeOnnxFile(output, model, card, { dtype, heads }),
  huggingface: (model, card, { output, dtype }) => writeHuggingFaceFolder(output, model, card, dtype),
};

/** `deit export`: a checkpoint of any naming for other tools. */
export async function exportModel(options: ExportOptions): Promise<void> {
  const format = options.format ?? (options.output.endsWith('.onnx') ? 'onnx' : 'safetensors');
  if (options.heads === 'both' && format !== 'onnx') {
    throw new DeitError('bad-config', 'Only ONNX files choose among the heads; other formats hold the whole model.', {
      where: '--heads both',
      fix: 'leave it out, or add --format onnx',
    });
  }
  await withEngine(options, async (engine, say) => {
    const { model, spec, card } = await buildModel(engine, options, say);
    const described: ModelCard = {
      cropPct: 0.875,
      interpolation: 'bicubic',
      ...card,
      model: spec,
      imageSize: describeModel(spec).imageSize,
      classes: options.classNames
        ? readNames(options.classNames, model.classes)
        : knownClasses(card, model.classes, say),
      data: options.trainedOn ?? card?.data ?? 'unknown',
    };
    const how = await writers[format](model, described, options);
    say(`wrote ${spec} (${model.numParameters().toLocaleString('en-US')} parameters, ${how}) to ${options.output}`);
    if (options.json) process.stdout.write(`${JSON.stringify({ output: options.output, format, ...described })}\n`);
  });
}

/** Class names from a text file, one a line. */
function readNames(path: string, classes: number): string[] {
  const names = parseClassNames(readFileSync(path, 'utf8'));
  if (names.length === classes) return names;
  throw new DeitError('bad-data', 'The list of class names does not fit the model.', {
    where: path,
    expected: `${classes} lines, one name each`,
    found: `${names.length} names`,
  });
}
