import type { Mutation, Operator } from './mutation.ts';

/** Enough to tell shader code from messages, which are template literals too. */
const IS_WGSL = /\b(fn|let|var|return|for|if|vec[234]|array|f32|u32)\b[^]*[;{}=]|workgroupBarrier/;

interface Rule {
  readonly operator: Operator;
  readonly pattern: RegExp;
  /** What the match becomes; null for no mutation. */
  readonly change: (match: RegExpMatchArray) => string | null;
}

const SWAPS: Readonly<Record<string, string>> = { '+': '-', '-': '+', '*': '/', '/': '*', '%': '/' };
const BOUNDS: Readonly<Record<string, string>> = { '<': '<=', '<=': '<', '>': '>=', '>=': '>', '==': '!=', '!=': '==' };

const RULES: readonly Rule[] = [
  { operator: 'WGSL operator', pattern: / ([-+*/%]=?) /g, change: ([, op]) => ` ${SWAPS[op[0]]}${op.slice(1)} ` },
  { operator: 'WGSL boundary', pattern: / (<=|>=|==|!=|<|>) /g, change: ([, op]) => ` ${BOUNDS[op]} ` },
  { operator: 'WGSL dropped term', pattern: / [-+] [a-z]\w*(\.\w+|\[[^\][]*\])*(?=[;,)\]])/g, change: () => '' },
  // An abstract integer, which adds to u32 and to i32.
  { operator: 'WGSL shifted index', pattern: /(?<=\w)\[([^\][]+)\]/g, change: ([, index]) => `[${index} + 1]` },
  {
    operator: 'WGSL constant',
    pattern: /(?<![\w.@(<])(\d+)(u?)(?![\w.)>])/g,
    change: ([, digits, suffix]) => `${Number(digits) + 1}${suffix}`,
  },
  {
    operator: 'WGSL constant',
    pattern: /(?<![\w.])(\d+\.\d+)(?![\w.])/g,
    change: ([, value]) => (Number(value) * 1.5 + 0.5).toFixed(3),
  },
  {
    operator: 'WGSL dropped statement',
    pattern: /^[ \t]*(?!let|var|const|return|for|if|\/\/)[\w.[\]]+( [-+*/]?= [^;{}]*|\([^;{}]*\));$/gm,
    change: () => '',
  },
];

/** Mutations of shader code: of a part of a template literal that starts at `offset` of its file. */
export function mutationsOfWgsl(file: string, part: string, offset: number): Mutation[] {
  // Comments stay: spaces of the same length keep the offsets.
  const code = part.replaceAll(/\/\/.*$/gm, (comment) => ' '.repeat(comment.length));
  return RULES.flatMap(({ operator, pattern, change }) =>
    [...code.matchAll(pattern)].flatMap((match): Mutation[] => {
      const replacement = change(match);
      const start = offset + match.index;
      return replacement === null ? [] : [{ file, operator, start, end: start + match[0].length, replacement }];
    }),
  );
}

export const isWgsl = (text: string): boolean => IS_WGSL.test(text);
