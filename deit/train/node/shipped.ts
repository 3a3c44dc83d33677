/** The pretrained model and the names of the ImageNet classes that ship with the package. Node only. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { assetPath } from '../../data/node/index.ts';
import type { ModelCard } from './model-card.ts';

/** What stands for the shipped model where a checkpoint is asked for. */
export const SHIPPED = 'shipped';

/** The file that a checkpoint's path or name stands for. */
export const weightsFile = (pathOrName: string): string =>
  pathOrName === SHIPPED ? join(assetPath('deit_tiny_patch16_224'), 'model.safetensors') : pathOrName;

/** Names of the 1000 classes of ImageNet-1k, in the order of the logits. */
export const imagenetClasses = (): string[] =>
  readFileSync(assetPath('imagenet-classes.txt'), 'utf8').trimEnd().split('\n');

/** Names of a model's classes: as its card has them, else ImageNet's where the number fits, else numbers. */
export function classNames(card: ModelCard | null, classes: number): readonly string[] {
  if (card?.classes.length === classes) return card.classes;
  return classes === 1000 ? imagenetClasses() : Array.from({ length: classes }, (_, i) => `class ${i}`);
}
