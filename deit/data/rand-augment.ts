/**
 * RandAugment (Cubuk et al. 2019) and AutoAugment (Cubuk et al. 2018) as timm configures them by a string such as
 * `rand-m9-mstd0.5-inc1` or `original-mstd0.5` (source: timm, data/auto_augment.py). Browser-safe.
 */
import { DeitError, nearestName } from '../../engine/index.ts';
import type { PhiloxStream } from '../../engine/index.ts';
import { applyOp } from './augment-ops.ts';
import type { AugmentContext, AugmentOpName, Magnitude } from './augment-ops.ts';
import { policies } from './auto-augment-policies.ts';
import type { RgbImage } from './dataset.ts';

const plainOps = [
  'AutoContrast',
  'Equalize',
  'Invert',
  'Rotate',
  'Posterize',
  'Solarize',
  'SolarizeAdd',
  'Color',
  'Contrast',
  'Brightness',
  'Sharpness',
  'ShearX',
  'ShearY',
  'TranslateXRel',
  'TranslateYRel',
] as const satisfies readonly AugmentOpName[];

const increasingOps = [
  'AutoContrast',
  'Equalize',
  'Invert',
  'Rotate',
  'PosterizeIncreasing',
  'SolarizeIncreasing',
  'SolarizeAdd',
  'ColorIncreasing',
  'ContrastIncreasing',
  'BrightnessIncreasing',
  'SharpnessIncreasing',
  'ShearX',
  'ShearY',
  'TranslateXRel',
  'TranslateYRel',
] as const satisfies readonly AugmentOpName[];

/** A random choice of operations, each applied with a probability at a random level. */
export interface RandAugment {
  kind: 'rand';
  ops: readonly AugmentOpName[];
  /** Operations chosen an image, with replacement. */
  count: number;
  probability: number;
  magnitude: Magnitude;
}

/** A random choice of one of a policy's pairs of operations. */
export interface AutoAugment {
  kind: 'policy';
  policy: keyof typeof policies;
  std: number;
}

export type AugmentPolicy = RandAugment | AutoAugment;

/** Reads timm's configuration string. Throws `bad-config`, naming the section that is not understood. */
export function parseAugment(config: string): AugmentPolicy {
  const [head, ...sections] = config.split('-');
  if (head === 'rand') return parseRand(config, sections);
  if (head in policies) return parsePolicy(config, head as keyof typeof policies, sections);
  const known = ['rand', ...Object.keys(policies)];
  const near = nearestName(head, known);
  throw new DeitError('bad-config', 'There is no augmentation policy of this name.', {
    where: config,
    expected: known.join(', '),
    found: head,
    fix: near ? `Did you mean "${near}"?` : 'DeiT uses "rand-m9-mstd0.5-inc1".',
  });
}

function parseRand(config: string, sections: string[]): RandAugment {
  const values = { m: 10, n: 2, p: 0.5, mstd: 0, mmax: 10, inc: 0 };
  for (const section of sections) {
    const [key, value] = splitSection(config, section);
    if (!(key in values)) throw unknownSection(config, section, Object.keys(values));
    values[key as keyof typeof values] = value;
  }
  if (!Number.isInteger(values.n) || values.n < 1 || values.p > 1) {
    throw new DeitError('bad-config', 'RandAugment needs at least one operation and a probability of at most 1.', {
      where: config,
      expected: 'an integer after n, and a number from 0 to 1 after p',
      found: `n${values.n}, p${values.p}`,
    });
  }
  return {
    kind: 'rand',
    ops: values.inc ? increasingOps : plainOps,
    count: values.n,
    probability: values.p,
    magnitude: { level: values.m, std: values.mstd > 100 ? Infinity : values.mstd, max: values.mmax },
  };
}

function parsePolicy(config: string, policy: keyof typeof policies, sections: string[]): AutoAugment {
  let std = 0;
  for (const section of sections) {
    const [key, value] = splitSection(config, section);
    if (key !== 'mstd') throw unknownSection(config, section, ['mstd']);
    std = value;
  }
  return { kind: 'policy', policy, std };
}

function splitSection(config: string, section: string): [string, number] {
  const match = /^([a-z]+)(\d+(?:\.\d+)?|\.\d+)$/.exec(section);
  if (match) return [match[1], Number(match[2])];
  throw new DeitError('bad-config', 'A section of an augmentation string is not a letter key and a number.', {
    where: config,
    expected: 'sections such as m9, n2, p0.5, mstd0.5, mmax10, inc1',
    found: section,
    fix: 'DeiT uses "rand-m9-mstd0.5-inc1".',
  });
}

const unknownSection = (config: string, section: string, known: string[]): DeitError =>
  new DeitError('bad-config', 'An augmentation string has a section that its policy does not know.', {
    where: config,
    expected: known.join(', '),
    found: section,
  });

/** The image augmented by draws of its own. */
export function applyAugment(
  policy: AugmentPolicy,
  image: RgbImage,
  context: AugmentContext,
  draws: PhiloxStream,
): RgbImage {
  if (policy.kind === 'rand') {
    const chosen = Array.from({ length: policy.count }, () => policy.ops[draws.integer(policy.ops.length)]);
    return chosen.reduce(
      (result, name) => applyOp(name, policy.probability, policy.magnitude, result, context, draws),
      image,
    );
  }
  const pairs = policies[policy.policy];
  return pairs[draws.integer(pairs.length)].reduce(
    (result, [name, probability, level]) =>
      applyOp(name, probability, { level, std: policy.std, max: 10 }, result, context, draws),
    image,
  );
}
