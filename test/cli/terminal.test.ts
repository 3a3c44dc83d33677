import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { DeitError } from '../../engine/index.ts';
import { parseAssignment, resolveRecipe } from '../../deit/recipe/resolve.ts';
import { ran } from '../support/command.ts';

/** Standard error of a small program. */
async function stderrOf(program: string): Promise<string> {
  const command = ['--import', 'tsx', '--input-type=module', '-e', program];
  return (await promisify(execFile)(process.execPath, command, { timeout: 60_000 })).stderr;
}

/** Lines of a terminal after it was written this: the control sequences that occur, and no others. */
function screen(written: string): string[] {
  const lines = [''];
  let column = 0;
  for (const [, sequence, text] of written
    .replaceAll('\x1b', '␛')
    .matchAll(/(␛.?\??\d*[A-Za-z]?|[\r\n])|([^␛\r\n]+)/g)) {
    const row = lines.length - 1;
    if (text) {
      lines[row] = lines[row].slice(0, column).padEnd(column) + text + lines[row].slice(column + text.length);
      column += text.length;
    } else if (sequence === '\n') {
      lines.push('');
      column = 0;
    } else if (sequence === '\r' || sequence === '␛[1G') column = 0;
    else if (sequence === '␛[2K') lines[row] = '';
    else if (sequence === '␛[0K') lines[row] = lines[row].slice(0, column);
    else if (!/^␛\[\?(25|7)[hl]$/.test(sequence)) throw new Error(`what is ${sequence}?`);
  }
  return lines;
}

describe('the live bar', () => {
  it('makes room for messages and comes back below them', async () => {
    const written = await stderrOf(`
      process.stderr.isTTY = true;
      process.stderr.columns = 100;
      const { Progress, tell } = await import('./deit/cli/progress.ts');
      const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
      const bar = new Progress('student', 8, 0, 'compiling kernels');
      await wait(200);
      tell('a message');
      await wait(200);
      bar.update(3, 'loss 2.000');
      await wait(200);
      tell('held-out accuracy 50.0 %');
      await wait(200);
      bar.stop();
    `);
    const lines = screen(written);
    expect(lines.slice(0, 2)).toEqual(['a message', 'held-out accuracy 50.0 %']);
    expect(lines[2]).toMatch(/^student \S+ 3\/8 loss 2\.000/);
    expect(written.slice(0, written.indexOf('a message'))).toContain('compiling kernels');
    expect(lines.slice(3).join('')).toBe('');
  });
});

describe('standard error of native code', () => {
  it("is passed on without Dawn's two lines", async () => {
    const line = (kind: string): string =>
      `Warning: maxDynamic${kind}BuffersPerPipelineLayout artificially reduced from 1000000 to 16 to fit dynamic offset allocation limit.\\n`;
    const written = await stderrOf(`
      import { writeSync } from 'node:fs';
      import { stderrFilter } from './engine/node/native-stderr.ts';
      const filter = await stderrFilter();
      filter(() => writeSync(2, '${line('Uniform')}Warning: another\\n${line('Storage')}'));
      writeSync(2, '${line('Uniform')}');
    `);
    // Only what is written inside is filtered.
    expect(written).toBe(`Warning: another\n${line('Uniform').replace('\\n', '\n')}`);
  });
});

describe('names that are not there', () => {
  const found = (assignment: string): string => {
    try {
      resolveRecipe(parseAssignment(assignment));
    } catch (error) {
      return (error as DeitError).details.found ?? '';
    }
    return '';
  };

  it.each([
    ['lr=1', ['optim.lr', 'teacher.lr']],
    ['batchsize=4', ['data.batchSize']],
    ['patchEpochs=4', []],
    ['optim.lrr=1', ['optim.lr']],
    ['minute=1', ['schedule.minutes']],
  ])('--set %s: settings that may be meant', (assignment, expected) => {
    for (const name of expected) expect(found(assignment)).toContain(`"${name}"`);
    expect(found(assignment)).toContain('there is no setting');
  });

  it('a misspelt recipe: the nearest one', async () => {
    const { code, err } = await ran('train', '--recipe', 'quik-demo');
    expect(code).toBe(1);
    expect(err).toContain('did you mean quick-demo?');
  });
});
