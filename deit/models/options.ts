import { DeitError, nearestName } from '../../engine/index.ts';

/** Options of a model under every name that is taken for them; the first is the one that is printed. */
export type OptionNames<Options> = Readonly<Record<keyof Options & string, readonly string[]>>;

const normal = (name: string): string => name.toLowerCase().replaceAll(/[_-]/g, '');

/**
 * Reads `key=value` pairs into options with numeric values. Throws `unknown-name` or `bad-config` with every problem.
 */
export function parseOptions<Options>(
  pairs: readonly string[],
  names: OptionNames<Options>,
  where: string,
): Partial<Record<keyof Options & string, number>> {
  const fields = new Map<string, keyof Options & string>();
  for (const field of Object.keys(names) as (keyof Options & string)[]) {
    for (const name of names[field]) fields.set(normal(name), field);
  }
  const unknown: string[] = [];
  const bad: string[] = [];
  const options: Partial<Record<keyof Options & string, number>> = {};
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    const key = equals < 0 ? pair : pair.slice(0, equals);
    const text = equals < 0 ? '' : pair.slice(equals + 1).trim();
    const field = fields.get(normal(key));
    if (!field) unknown.push(key);
    else if (text === '' || !Number.isFinite(Number(text))) bad.push(`${pair} (a number is needed)`);
    else if (field in options) bad.push(`${key} is given twice`);
    else options[field] = Number(text);
  }
  const all = Object.values<readonly string[]>(names).flat();
  if (unknown.length > 0) {
    const suggestions = unknown.map((key) => nearestName(key, all)).filter((name) => name !== undefined);
    throw new DeitError('unknown-name', 'The model has no such option.', {
      where,
      expected: `one of ${Object.values<readonly string[]>(names)
        .map(([first]) => first)
        .join(', ')}`,
      found: [...unknown, ...bad].join(', '),
      fix: suggestions.length > 0 ? `did you mean ${suggestions.join(', ')}?` : undefined,
    });
  }
  if (bad.length > 0)
    throw new DeitError('bad-config', 'An option of the model cannot be used.', { where, found: bad.join(', ') });
  return options;
}

/** Sizes beyond these are mistakes: nothing could be computed, nor even listed, of such a model. */
const MOST_BLOCKS = 1024;
const MOST_CLASSES = 2 ** 20;
const MOST_OF_A_SIZE = 2 ** 16;

/** What is wrong with the whole numbers of a model's shape, a line each: all are at least 1, but a depth may be `leastDepth`. */
export function sizeProblems<Name extends string>(
  sizes: Readonly<Record<Name, number>>,
  names: readonly Name[],
  leastDepth = 1,
): string[] {
  return names.flatMap((name) => {
    const size = sizes[name];
    const least = name === 'depth' ? leastDepth : 1;
    const most = name === 'depth' ? MOST_BLOCKS : name === 'classes' ? MOST_CLASSES : MOST_OF_A_SIZE;
    if (Number.isInteger(size) && size >= least && size <= most) return [];
    return [`${name} is ${size}, not a whole number from ${least} to ${most}`];
  });
}

/** `key=value` pairs under the names that are printed, in their order. */
export function formatOptions<Options>(
  options: Partial<Record<keyof Options & string, number>>,
  names: OptionNames<Options>,
): string[] {
  const fields = Object.keys(names) as (keyof Options & string)[];
  return fields.filter((field) => options[field] !== undefined).map((field) => `${names[field][0]}=${options[field]}`);
}
