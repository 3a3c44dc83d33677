import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Outcome } from './results.ts';
import type { Answer, Question } from './warm-tests.ts';

/** Shader text that does not compile is noticed by any test that runs it, which says nothing of the tests. */
const DOES_NOT_COMPILE = /A kernel did not compile|SyntaxError|Transform failed|PARSE_ERROR/;

/** Tests that train or start programs take longer than the others, until it is known how long. */
const STARTS_PROGRAMS = /^test\/(cli|report|serve|study|training)\//;

type Unchanged = Omit<Question, 'changed'>;

export interface Trial {
  readonly outcome: Outcome;
  readonly seconds: number;
  /** The test that failed. */
  readonly by?: string;
}

/** A copy of the repository in which sources are changed, so that nothing is left changed in the repository, whatever happens. */
export class WorkingCopy implements Disposable {
  private readonly folder = mkdtempSync(join(tmpdir(), 'deit-mutation-'));
  private tester: ChildProcess | undefined;
  /** Tests that pass on the unchanged sources. */
  private readonly sound = new Set<string>();
  /** By file, those that do not. */
  private readonly unsound = new Map<string, readonly string[]>();
  /** Files written since the last question. */
  private readonly written = new Set<string>();

  constructor(
    private readonly root: string,
    files: readonly string[],
    /** Seconds that whole test files take, as far as that is known; those that pass here are added. */
    private readonly durations = new Map<string, number>(),
  ) {
    for (const file of files) cpSync(join(root, file), join(this.folder, file), { verbatimSymlinks: true });
    // Links to the packages, and caches of its own.
    mkdirSync(join(this.folder, 'node_modules'));
    for (const name of readdirSync(join(root, 'node_modules'))) {
      if (name.startsWith('.') && name !== '.bin') continue;
      symlinkSync(join(root, 'node_modules', name), join(this.folder, 'node_modules', name));
    }
  }

  /**
   * Runs tests with one file changed, the quickest first, until one fails that passes on the unchanged file; `only` runs the test
   * of this full name alone.
   */
  async try(file: string, text: string, tests: readonly string[], seconds: number, only?: string): Promise<Trial> {
    if (tests.length === 0) return { outcome: 'untested', seconds: 0 };
    const began = performance.now();
    const trial = (outcome: Outcome, by?: string): Trial => ({
      outcome,
      seconds: (performance.now() - began) / 1000,
      ...(by !== undefined && { by }),
    });
    const duration = (test: string): number => this.durations.get(test) ?? (STARTS_PROGRAMS.test(test) ? 30 : 5);
    const byDuration = tests.toSorted((a, b) => duration(a) - duration(b));
    const waiting = [...byDuration];
    for (let test = waiting.shift(); test !== undefined; test = waiting.shift()) {
      const without = this.unsound.get(test) ?? [];
      this.write(file, text);
      const answer = await this.ask({ test, without, ...(only !== undefined && { only }) }, seconds);
      this.write(file, readFileSync(join(this.root, file)));
      if (answer === 'late') return trial('timeout', test);
      if (answer.passed) {
        this.durations.set(test, answer.seconds);
        continue;
      }
      if (DOES_NOT_COMPILE.test(answer.errors)) return trial('invalid');
      const { failed } = answer;
      const name = failed === undefined ? test : `${test}: ${failed}`;
      if (await this.isSound(name, { test, ...(failed !== undefined && { only: failed }) }, seconds))
        return trial('noticed', name);
      if (failed === undefined) continue;
      // The rest of the file has not been run.
      this.unsound.set(test, [...without, failed]);
      waiting.unshift(test);
    }
    return trial('survived');
  }

  /** The tests are told of it with the next question: also that a change that none noticed is there no more. */
  private write(file: string, content: string | Uint8Array): void {
    writeFileSync(join(this.folder, file), content);
    this.written.add(file);
  }

  private async isSound(name: string, question: Unchanged, seconds: number): Promise<boolean> {
    if (this.sound.has(name)) return true;
    const answer = await this.ask(question, seconds);
    if (answer === 'late' || !answer.passed) {
      console.error(`${name}\n  fails in the copy without a change too, so it is left out`);
      return false;
    }
    this.sound.add(name);
    return true;
  }

  /** Has a test run; `late` where it does not end in time, or takes its process with it. */
  private async ask(question: Unchanged, seconds: number): Promise<Answer | 'late'> {
    const tester = (this.tester ??= await this.start());
    return new Promise((resolve) => {
      const end = (answer: Answer | 'late'): void => {
        clearTimeout(timer);
        tester.off('message', end).off('exit', ended);
        if (answer === 'late') this.stop();
        resolve(answer);
      };
      const ended = (): void => end('late');
      const timer = setTimeout(ended, 1000 * seconds);
      tester
        .on('message', end)
        .on('exit', ended)
        .send({ ...question, changed: [...this.written] });
      this.written.clear();
    });
  }

  private async start(): Promise<ChildProcess> {
    // A group of its own, so that its workers end with it; in the copy, whose sources it is to run.
    const tester = fork(join(this.folder, 'bench/mutation/warm-tests.ts'), {
      cwd: this.folder,
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, NO_COLOR: '1' },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      detached: true,
    });
    await new Promise<void>((resolve, reject) => {
      tester.once('message', () => resolve());
      tester.once('exit', (code) => reject(new Error(`the tests did not start: exit code ${code}`)));
    });
    return tester.removeAllListeners('exit');
  }

  private stop(): void {
    if (this.tester?.exitCode === null) process.kill(-this.tester.pid!, 'SIGKILL');
    this.tester = undefined;
  }

  [Symbol.dispose](): void {
    this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
