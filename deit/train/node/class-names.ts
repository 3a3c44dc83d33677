/** Names of a model's classes: to match them with those of data, and to show them to people. Node only. */
import { readFileSync } from 'node:fs';
import { assetPath } from '../../data/node/index.ts';
import { likeness, numbered } from '../../weights/classes.ts';
import type { HeadClasses } from '../../weights/classes.ts';
import type { ModelCard } from '../../weights/model-card.ts';

const IMAGENET = 1000;

const lines = (name: string): string[] => readFileSync(assetPath(name), 'utf8').trimEnd().split('\n');

/** Short English names of the classes of ImageNet-1k, in the order of the logits. */
export const imagenetClasses = (): string[] => lines('imagenet-classes.txt');

/**
 * The names by which each class of ImageNet-1k is known, the short one first: also its WordNet id (the data set's own folders),
 * the words of its synset (labels of transformers and timm) and the first of them.
 */
function imagenetNames(): string[][] {
  const short = imagenetClasses();
  return lines('imagenet-synsets.txt').map((line, i) => {
    const [id, words] = [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)];
    return [short[i], id, words, words.split(',')[0]];
  });
}

/** The classes of a head whose file names them so; those of ImageNet-1k have synonyms, and are the guess for 1000 without names. */
export function headClasses(card: ModelCard | null): HeadClasses {
  const names = card?.classes ?? [];
  if (names.length === 0) return { names: null, guess: { of: 'ImageNet-1k', names: imagenetNames() } };
  const known = names.length === IMAGENET ? imagenetNames() : [];
  const isImagenet = known.every((synonyms, i) => synonyms.some((name) => likeness(name) === likeness(names[i])));
  return { names: names.map((name, i) => (isImagenet ? [name, ...(known[i] ?? [])] : [name])) };
}

/** What is known of the names of a model's classes: its card's, else ImageNet's where the number fits, else none; a guess is told. */
export function knownClasses(card: ModelCard | null, count: number, say: (line: string) => void): readonly string[] {
  if (card?.classes.length === count) return card.classes;
  const isImagenet = count === IMAGENET;
  say(
    `the weights name no classes: ${isImagenet ? "they are taken for ImageNet-1k's 1000" : 'they have numbers alone'}`,
  );
  return isImagenet ? imagenetClasses() : [];
}

/** The same to show to people: without names, numbers. */
export function classNames(card: ModelCard | null, count: number, say: (line: string) => void): readonly string[] {
  const known = knownClasses(card, count, say);
  return known.length > 0 ? known : numbered(count);
}
