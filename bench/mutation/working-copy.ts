import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Outcome } from './results.ts';

/** Shader text that does not compile is noticed by any test that runs it, which says nothing of the tests. */
const DOES_NOT_COMPILE = /A kernel did not compile|SyntaxError|Transform failed/;

/** A copy of the repository in which sources are changed, so that nothing is left changed in the repository, whatever happens. */
export class WorkingCopy implements Disposable {
  private readonly folder = mkdtempSync(join(tmpdir(), 'deit-mutation-'));

  constructor(
    private readonly root: string,
    files: readonly string[],
  ) {
    for (const file of files) cpSync(join(root, file), join(this.folder, file), { verbatimSymlinks: true });
    // Links to the packages, and caches of its own.
    mkdirSync(join(this.folder, 'node_modules'));
    for (const name of readdirSync(join(root, 'node_modules'))) {
      if (name.startsWith('.') && name !== '.bin') continue;
      symlinkSync(join(root, 'node_modules', name), join(this.folder, 'node_modules', name));
    }
  }

  /** Runs tests with one file changed. */
  async try(
    file: string,
    text: string,
    tests: readonly string[],
    seconds: number,
  ): Promise<{ outcome: Outcome; seconds: number }> {
    const began = performance.now();
    const took = (): number => (performance.now() - began) / 1000;
    if (tests.length === 0) return { outcome: 'untested', seconds: 0 };
    writeFileSync(join(this.folder, file), text);
    try {
      const { code, output } = await this.runTests(tests, seconds);
      if (code === null) return { outcome: 'timeout', seconds: took() };
      if (code === 0) return { outcome: 'survived', seconds: took() };
      return { outcome: DOES_NOT_COMPILE.test(output) ? 'invalid' : 'noticed', seconds: took() };
    } finally {
      cpSync(join(this.root, file), join(this.folder, file));
    }
  }

  private runTests(tests: readonly string[], seconds: number): Promise<{ code: number | null; output: string }> {
    const vitest = join(this.root, 'node_modules/vitest/vitest.mjs');
    const args = [vitest, 'run', '--bail=1', '--reporter=default', ...tests];
    // A group of its own, so that its workers end with it.
    const child = spawn(process.execPath, args, {
      cwd: this.folder,
      env: { ...process.env, NO_COLOR: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      process.kill(-child.pid!, 'SIGKILL');
    }, 1000 * seconds);
    return new Promise((resolve) => {
      child.on('close', (code) => {
        clearTimeout(timer);
        resolve({ code: late ? null : (code ?? 1), output });
      });
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
