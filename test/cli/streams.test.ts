import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundled } from '../../bench/bundled.ts';
import { smallRecipe } from '../../bench/drills/drill.ts';
import { guardTerminal, printable } from '../../deit/cli/streams.ts';

let folder = '';
let program = '';
beforeAll(async () => {
  program = await bundled('deit/cli/main.ts');
  folder = mkdtempSync(join(tmpdir(), 'deit-streams-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const start = (...args: string[]): ChildProcess =>
  spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // Where the tests themselves run under nohup, the command would heed it.
    env: { ...process.env, _: process.execPath },
  });
const codeOf = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.on('close', (code) => resolve(code)));

describe('a command whose output nobody reads any more', () => {
  it('ends quietly with 128 + SIGPIPE when its results go nowhere', async () => {
    const child = start('summary', 'deit_tiny_patch16_224');
    let err = '';
    child.stderr!.on('data', (chunk: Buffer) => (err += chunk.toString()));
    child.stdout!.destroy();
    expect(await codeOf(child)).toBe(141);
    expect(err).toBe('');
  });

  it('and when its messages do', async () => {
    const child = start('doctor');
    child.stderr!.destroy();
    expect(await codeOf(child)).toBe(141);
  });

  it.runIf(existsSync('/dev/full'))('says that a full disk took its results', async () => {
    const script = `"${process.execPath}" "${program}" summary deit_tiny_patch16_224 > /dev/full`;
    const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'pipe'] });
    let err = '';
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    expect(await codeOf(child)).toBe(1);
    expect(err).toContain('standard output cannot be written: ENOSPC');
    expect(err).not.toContain('    at ');
  });

  it('goes on training, and saves when the terminal is gone', async () => {
    const recipe = smallRecipe(folder);
    const run = join(folder, 'run');
    const child = start('train', '--recipe', recipe, '--steps', '100000', '--output', run);
    const end = codeOf(child);
    await new Promise<void>((resolve) => {
      child.stderr!.on('data', (chunk: Buffer) => {
        if (/student +\d+\//.test(chunk.toString())) resolve();
      });
    });
    child.stderr!.destroy();
    child.stdout!.destroy();
    // Long enough for lines that find no reader; then the hangups, one from the shell and one from the system.
    await new Promise((resolve) => setTimeout(resolve, 2000));
    child.kill('SIGHUP');
    child.kill('SIGHUP');
    expect(await end).toBe(129);
    expect(readdirSync(join(run, 'checkpoints'))).toHaveLength(1);
  });
});

describe('names that hold control characters', () => {
  // ECMA-48: OSC sets the title (0) or the clipboard (52), ended by BEL; CSI sets colours and moves the cursor; U+009D is OSC in one character.
  const name = 'cat\u001b]0;owned\u0007\u009d52;c;eA==\b\u001bc';
  const shown = 'cat\\x1b]0;owned\\x07\\x9d52;c;eA==\\x08\\x1bc';

  it('are shown, and colours and the cursor still work', () => {
    expect(printable(name)).toBe(shown);
    const own = '\u001b[31mred\u001b[39m\tone\r\n\u001b[?25l\u001b[0G\u001b[K';
    expect(printable(own)).toBe(own);
  });

  it('reach a file or a pipe as they are, a terminal shown', () => {
    const written: unknown[] = [];
    const stream = (isTTY: boolean): NodeJS.WriteStream =>
      ({ isTTY, write: (chunk: unknown) => written.push(chunk) > 0 }) as unknown as NodeJS.WriteStream;
    for (const isTTY of [false, true]) {
      const guarded = stream(isTTY);
      guardTerminal(guarded);
      guarded.write(name);
    }
    expect(written).toEqual([name, shown]);
  });
});
