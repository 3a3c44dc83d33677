import { describe, expect, it } from 'vitest';
import { applied } from '../../bench/mutation/mutation.ts';
import { keysOf, mutationsOf } from '../../bench/mutation/typescript.ts';

/** The texts that all mutations of a text make of it. */
const mutants = (text: string): string[] =>
  mutationsOf('file.ts', text, keysOf(['Purpose.mix Purpose.shuffle'])).map((mutation) => applied(text, mutation));

describe('mutations of TypeScript', () => {
  it.each([
    ['const a = b + c;', ['const a = b - c;']],
    ['const a = `${b}s` + c;', []],
    ['const a = b < 3;', ['const a = b <= 3;', 'const a = b < 4;']],
    ['if (a && b) c();', ['if (!(a && b)) c();', 'if (a || b) c();', 'if (a && b) ;']],
    ['const a = b ? c : d;', ['const a = !(b) ? c : d;']],
    ['const a = { b: true };', ['const a = { b: false };']],
    ["throw new DeitError('code', `1 + ${2 + 3}`);", [';']],
    ['const a = f(b, c);', ['const a = f(c, b);']],
    ['const a = Purpose.shuffle;', ['const a = Purpose.mix;']],
    ['type A = 1 | 2;', []],
    ['const a = { flops: 2 * n, bytes: m };', []],
    ['require(a > b, `${a + 1} of them`, c * 2);', [';', 'require(a >= b, `${a + 1} of them`, c * 2);']],
    ['const a = `of these ${b * 2} are there`;', []],
    ['log(a + b);', ['log(a - b);']],
    ['const a = x.prototype;', []],
  ])('%s', (text, expected) => expect(mutants(text)).toEqual(expected));
});

describe('mutations of WGSL', () => {
  it('change shader text, and neither its comments nor what is put into it', () => {
    const shader = 'const k = `\n// a + b\nvar sum = x[i] + y;\nsum += ${n + m} * 2.0;\nworkgroupBarrier();\n`;';
    const lines = shader.split('\n');
    const changed = mutants(shader).map((text) => {
      const at = text.split('\n').findIndex((line, i) => line !== lines[i]);
      return [at, text.split('\n')[at]];
    });
    expect(changed).toEqual(
      expect.arrayContaining([
        [2, 'var sum = x[i] - y;'],
        [2, 'var sum = x[i];'],
        [2, 'var sum = x[i + 1] + y;'],
        [3, 'sum -= ${n + m} * 2.0;'],
        [3, 'sum += ${n + m} / 2.0;'],
        [3, 'sum += ${n + m} * 3.500;'],
        [3, 'sum += ${n - m} * 2.0;'],
        [4, ''],
      ]),
    );
    expect(changed).toHaveLength(8);
  });

  it('leave messages alone', () => {
    expect(mutants('const a = `there are ${b} + 2 of them`;')).toEqual([]);
  });
});
