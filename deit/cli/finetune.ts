import { DeitError } from '../../engine/index.ts';
import { distilledName } from '../models/distilled-name.ts';
import type { SettingValue } from '../recipe/settings.ts';
import { openCheckpoint } from '../train/node/checkpoint.ts';
import { train } from './train.ts';
import type { TrainOptions } from './recipe-options.ts';

interface FinetuneOptions extends TrainOptions {
  weights: string;
  model?: string;
  teacher?: string;
}

/** `deit finetune`: `deit train` from a checkpoint, whose head is replaced if the classes are others. */
export async function finetune({ weights, model, teacher, ...options }: FinetuneOptions): Promise<void> {
  if (options.resume === undefined && options.data === undefined) {
    throw new DeitError('bad-config', 'Fine-tuning needs images.', {
      where: '--data',
      expected: 'a folder with a folder of images for each class, CIFAR binaries or a list file',
    });
  }
  const spec = model ?? (await modelOf(weights));
  const fixed: Record<string, SettingValue> = { 'model.weights': weights, 'model.name': spec };
  if (teacher !== undefined) {
    fixed['teacher.weights'] = teacher;
    fixed['teacher.model'] = await modelOf(teacher);
    fixed['distillation.type'] = 'hard';
    // The token starts as a copy of the class token.
    fixed['model.name'] = model ?? distilledName(spec, true);
  }
  await train({ ...options, defaults: fixed });
}

/** The model of a checkpoint by its card, without the number of classes, which the data decides. */
async function modelOf(weights: string): Promise<string> {
  const { card } = await openCheckpoint(weights);
  if (card) return card.model.replace(/ num_classes=\d+/, '');
  throw new DeitError('bad-config', 'The checkpoint does not say which model it is of.', {
    where: weights,
    fix: 'name it, for example --model deit_tiny_patch16_224 (and --set teacher.model=... for a teacher)',
  });
}
