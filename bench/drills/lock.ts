import { build } from 'esbuild';
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { drawsOf, expectThat } from './drill.ts';
import type { DrillOptions } from './drill.ts';

const TRIALS = 200;
const CONTENDERS = 4;
/** How the folder was left before they all want it. */
const BEFORE = ['killed', 'killed, its process number used again', 'being killed', 'being closed', 'new'] as const;

/** What a contender is told, and what it answers. */
export type Order = 'take' | 'release';
export interface Told {
  readonly order: Order;
  readonly folder: string;
}
export type Answer = 'owner' | 'refused' | 'released';

/**
 * Four processes want one run folder in the same moment: one gets it, whether the owner before them was killed, is being
 * killed or is just closing, and whatever process now bears the number that its lock names.
 */
export async function lock({ folder, count, seed, say }: DrillOptions): Promise<string> {
  const trials = count ?? TRIALS;
  const draws = drawsOf(seed);
  const program = await bundled();
  const contenders = Array.from({ length: CONTENDERS }, () => new Contender(program));
  let [owned, refused] = [0, 0];
  try {
    for (let trial = 0; trial < trials; trial++) {
      const before = BEFORE[trial % BEFORE.length];
      const run = join(folder, `run-${trial}`);
      mkdirSync(run);
      const earlier = await left(run, before, program);
      // Within the time that a take-over takes, and one of them first or not.
      const waits = contenders.map(() => draws.uniform(0, trial % 2));
      const ending = earlier?.end(draws.uniform(0, 2));
      const answers = await Promise.all(contenders.map((one, i) => one.tell('take', run, waits[i])));
      await ending;
      const owners = contenders.filter((_, i) => answers[i] === 'owner');
      expectThat(owners.length <= 1, `trial ${trial} (${before}): ${owners.length} processes own the folder`);
      // Whoever came while the earlier owner was still there was refused rightly; with none there, somebody must own it.
      if (!earlier) expectThat(owners.length === 1, `trial ${trial} (${before}): nobody owns the folder`);
      owned += owners.length;
      refused += CONTENDERS - owners.length;
      await Promise.all(owners.map((one) => one.tell('release', run)));
      if (trial % 50 === 49) say(`${trial + 1} trials, ${owned} owners, ${refused} refusals`);
    }
  } finally {
    await Promise.all(contenders.map((one) => one.kill()));
  }
  return `${CONTENDERS} processes in ${trials} trials: ${owned} owners, ${refused} refusals, never two owners`;
}

/** Leaves the folder as `before` says; an owner that is still there is returned, to be ended in the middle of the race. */
async function left(run: string, before: (typeof BEFORE)[number], program: string) {
  if (before === 'new') return null;
  if (before === 'killed, its process number used again') {
    const since = new Date().toISOString();
    const gone = { pid: process.pid, host: hostname(), boot: '', since };
    writeFileSync(join(run, 'run.lock'), JSON.stringify(gone));
    return null;
  }
  const owner = new Contender(program);
  expectThat((await owner.tell('take', run)) === 'owner', 'the first process does not get a new folder');
  if (before === 'killed') {
    await owner.kill();
    return null;
  }
  return {
    end: async (wait: number) => {
      if (before === 'being closed') await owner.tell('release', run, wait);
      else await new Promise((resolve) => setTimeout(resolve, wait));
      await owner.kill();
    },
  };
}

/** The contender as one file of plain JavaScript, which starts in a moment. Below this package, where it finds what it needs. */
async function bundled(): Promise<string> {
  const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
  const outfile = here('../../dist/drills/lock-contender.mjs');
  const entryPoints = [here('./lock-contender.ts')];
  await build({ entryPoints, outfile, bundle: true, platform: 'node', format: 'esm', packages: 'external' });
  return outfile;
}

class Contender {
  private readonly child: ChildProcess;
  private readonly ended: Promise<void>;

  constructor(program: string) {
    this.child = fork(program);
    this.ended = new Promise((resolve) => this.child.on('exit', () => resolve()));
  }

  tell(order: Order, folder: string, waitMs = 0): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const fail = (): void => reject(new Error('a contender ended'));
      this.child.once('exit', fail);
      this.child.once('message', (answer: Answer) => {
        this.child.off('exit', fail);
        resolve(answer);
      });
      setTimeout(() => this.child.send({ order, folder } satisfies Told), waitMs);
    });
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}
