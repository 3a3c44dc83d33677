import { describe, expect, it } from 'vitest';
import { csvTable, markdownTable, terminalTable } from '../../deit/report/table-text.ts';

const table = {
  titles: ['', 'accuracy', 'a "note"'],
  rows: [
    ['plain', '72.2 %', 'x, y'],
    ['a|b <i>*', '9.1 %', 'two\nlines'],
  ],
};

describe('tables as text', () => {
  it('are in line on a terminal, names to the left and figures to the right', () => {
    expect(terminalTable({ titles: ['', 'accuracy'], rows: [['plain', '72.2 %'], ['b', '–']] })).toBe(
      ['       accuracy', 'plain    72.2 %', 'b             –', ''].join('\n'),
    ); // prettier-ignore
  });

  it("keep GitHub's Markdown whole, whatever is in a cell", () => {
    expect(markdownTable(table)).toBe(
      [
        '|  | accuracy | a "note" |',
        '| --- | --: | --: |',
        '| plain | 72.2 % | x, y |',
        '| a\\|b \\<i\\>\\* | 9.1 % | two lines |',
        '',
      ].join('\n'),
    );
  });

  it('are quoted as RFC 4180 has it', () => {
    expect(csvTable(table)).toBe(
      ',accuracy,"a ""note"""\nplain,72.2 %,"x, y"\na|b <i>*,9.1 %,"two\nlines"\n',
    ); // prettier-ignore
  });
});
