/** What a mutation is: one small change to the text of one file, which a test should notice. */
export interface Mutation {
  /** Path from the root of the repository. */
  readonly file: string;
  readonly operator: Operator;
  /** Offsets in the file's text, in UTF-16 units. */
  readonly start: number;
  readonly end: number;
  readonly replacement: string;
}

export const OPERATORS = [
  'arithmetic',
  'boundary',
  'condition',
  'constant',
  'dropped statement',
  'swapped arguments',
  'another key',
  'WGSL operator',
  'WGSL boundary',
  'WGSL dropped term',
  'WGSL shifted index',
  'WGSL constant',
  'WGSL dropped statement',
] as const;
export type Operator = (typeof OPERATORS)[number];

export const applied = (text: string, { start, end, replacement }: Mutation): string =>
  text.slice(0, start) + replacement + text.slice(end);

/** `file:line: old -> new`, on one line. */
export function described(text: string, mutation: Mutation): string {
  const { file, start, end, replacement, operator } = mutation;
  const line = text.slice(0, start).split('\n').length;
  const short = (part: string): string => {
    const flat = part.replaceAll(/\s+/g, ' ').trim();
    return flat.length > 90 ? `${flat.slice(0, 87)}...` : flat;
  };
  return `${file}:${line}: ${operator}: \`${short(text.slice(start, end))}\` -> \`${short(replacement)}\``;
}
