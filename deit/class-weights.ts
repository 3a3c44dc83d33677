/** Weights of classes in the loss, as `torch.nn.CrossEntropyLoss(weight=...)` has them. Browser-safe. */
import { DeitError, div, mixedTargets, mul, nearestName, sum } from '../engine/index.ts';
import type { Tensor } from '../engine/index.ts';
import type { Target } from './distillation.ts';

/**
 * The weights that `data.classWeights` stands for, one a class: `balanced` (images / (classes x images of the class), as
 * scikit-learn has it, so that each class counts alike and the mean weight of an image is 1), numbers in the order of the classes
 * ("1, 2.5, 1"), or those of some classes by name, 1 for the others ("cat=2, dog=0.5"). `counts` are images of each class.
 * Throws `bad-config`.
 */
export function parseClassWeights(text: string, classes: readonly string[], counts: ArrayLike<number>): number[] {
  if (text.trim() === 'balanced') {
    const images = Array.from(counts).reduce((all, count) => all + count, 0);
    return Array.from(counts, (count) => (count === 0 ? 1 : images / (classes.length * count)));
  }
  const parts = text.split(',').map((part) => part.trim());
  const isByName = parts.some((part) => part.includes('='));
  if (!isByName) {
    if (parts.length !== classes.length) {
      throw wrong(
        `balanced, or ${classes.length} numbers, one a class, or name=number, ...`,
        `${parts.length}: ${text}`,
      );
    }
    return parts.map((part) => weightOf(part, text));
  }
  const weights = new Map(classes.map((name) => [name, 1]));
  const given = new Set<string>();
  for (const part of parts) {
    const at = part.lastIndexOf('=');
    const name = part.slice(0, at).trim().normalize();
    if (at < 0 || !weights.has(name)) {
      const near = nearestName(name, classes);
      throw wrong(`name=number with the name of a class${near === undefined ? '' : `, such as ${near}`}`, part);
    }
    if (given.has(name)) throw wrong('each class once', part);
    given.add(name);
    weights.set(name, weightOf(part.slice(at + 1), text));
  }
  return [...weights.values()];
}

function weightOf(part: string, text: string): number {
  const weight = part.trim() === '' ? NaN : Number(part);
  if (Number.isFinite(weight) && weight > 0) return weight;
  throw wrong('numbers above 0', text);
}

const wrong = (expected: string, found: string): DeitError =>
  new DeitError('bad-config', 'The weights of the classes cannot be used.', {
    where: 'data.classWeights',
    expected,
    found,
  });

/**
 * The target whose cross-entropy is PyTorch's with `weight`: `weights` [K] times the distribution of each row. Where the target
 * is labels the mean is over their weights, as `CrossEntropyLoss` takes it: it is of this batch, so that a batch that is computed
 * in parts has as many means.
 */
export function weightTarget(target: Target, weights: Tensor): Target {
  if ('distribution' in target) return { distribution: mul(target.distribution, weights) };
  const { labels, smoothing } = target;
  const [batch, classes] = [labels.size, weights.size];
  const unmixed = weights.engine.full([6], 1); // lambda 1, all of the own label
  const distribution = mul(mixedTargets(labels, unmixed, { classes, smoothing }), weights);
  const total = sum(mul(mixedTargets(labels, unmixed, { classes, smoothing: 0 }), weights));
  return { distribution: div(distribution, mul(total, 1 / batch)) };
}
