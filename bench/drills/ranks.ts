import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { processStatus } from '../../deit/parallel/node/launcher-process.ts';
import { readSafetensorsFile, toFloat32 } from '../../engine/node.ts';
import { drawsOf, expectThat, runWell, sleep, smallRecipe, startDeit } from './drill.ts';
import type { DrillOptions } from './drill.ts';

const KILLS = 50;
const STEPS = 16;
/** Slices of a step, and the numbers of ranks that can share them. */
const SLICES = 6;
const WORLDS = [2, 3] as const;
/** Steps of the learning rate that Adam makes of gradients which are nothing but rounding, where slices are added in another order. */
const TOLERANCE = 1e-5;
/** Seconds within which all ranks have to be gone. */
const PATIENCE = 10;

/**
 * Kills one rank, or the launcher, at random moments of a training on 2 or 3 ranks. All of it has to end within seconds, with the
 * last checkpoint intact, and go on with another number of ranks to the weights of an unbroken run in one process.
 */
export async function ranks({ folder, count, seed, say }: DrillOptions): Promise<string> {
  const kills = count ?? KILLS;
  const draws = drawsOf(seed);
  const recipe = smallRecipe(folder, {
    data: { batchSize: 4 * SLICES, accumulate: SLICES, workers: 0 },
    run: { evaluateEvery: 0, checkpointEvery: 1 },
    // DeiT's own: the steps that Adam makes of rounding are in proportion to it.
    optim: { lr: 5e-4 },
  });
  const [whole, run] = [join(folder, 'whole'), join(folder, 'run')];
  const train = (output: string): string[] => ['train', '--recipe', recipe, '--steps', String(STEPS), '--output', output, '--resume', 'auto']; // prettier-ignore
  await runWell(train(whole));
  const began = performance.now();
  await runWell([...train(run), '--processes', '2']);
  const seconds = (performance.now() - began) / 1000;
  let [done, finished, worst, slowest] = [0, 0, 0, 0];
  const complete = async (): Promise<void> => {
    worst = Math.max(
      worst,
      await largestDifference(join(run, 'student.safetensors'), join(whole, 'student.safetensors')),
    );
    expectThat(worst <= TOLERANCE, `after ${done} kills the final weights are ${worst} off those of the unbroken run`);
    finished++;
    rmSync(run, { recursive: true });
  };
  await complete();
  while (done < kills) {
    const world = WORLDS[draws.integer(WORLDS.length)];
    const before = reached(run);
    const running = await startDeit([...train(run), '--processes', String(world)]);
    // Half of the kills hit the training itself, the others any moment from the start.
    if (draws.integer(2) === 0)
      await Promise.race([running.said(/student +\d+\//).catch(() => undefined), running.finished]);
    await Promise.race([running.finished, sleep(1000 * draws.uniform(0, seconds))]);
    const processes = descendants(running.child.pid!);
    const victim = processes[draws.integer(Math.max(1, processes.length))];
    const struck = new Struck(processes);
    if (running.child.exitCode !== null || victim === undefined || !kill(victim)) {
      const { code, output } = await running.finished;
      expectThat(code === 0, `resuming failed after ${done} kills:\n${output}`);
      await complete();
      continue;
    }
    done++;
    const took = await struck.untilGone();
    const inAll = `${took.toFixed(1)} s, in which they had ${struck.processorSeconds.toFixed(1)} s of processor time`;
    slowest = Math.max(slowest, took);
    expectThat(took < PATIENCE, `some process of the run is still there after ${inAll}`);
    await running.finished;
    // A run may have come to its end in the very moment.
    if (existsSync(join(run, 'result.json'))) await complete();
    else expectThat(reached(run) >= before, `the checkpoint of step ${before} is gone`);
    say(
      `kill ${done} of ${kills}, at step ${reached(run)}: all ${processes.length} gone after ${inAll}; ${finished} runs finished`,
    );
  }
  if (existsSync(run)) {
    await runWell(train(run));
    await complete();
  }
  return `${done} kills over ${WORLDS.join(' and ')} ranks, all processes gone within ${slowest.toFixed(1)} s; ${finished} runs of ${STEPS} steps came to the same weights within ${worst.toExponential(1)}`;
}

/** Step of the newest checkpoint; 0 where there is none. */
function reached(run: string): number {
  const checkpoints = join(run, 'checkpoints');
  if (!existsSync(checkpoints)) return 0;
  const steps = readdirSync(checkpoints).map((name) => Number(/^student-(\d+)\.safetensors$/.exec(name)?.[1] ?? 0));
  return Math.max(0, ...steps);
}

/** Process numbers of the launcher and all that it has started. Linux only. */
function descendants(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number);
    return children.flatMap((child) => [child, ...descendants(child)]);
  } catch {
    return [];
  }
}

/** Clock ticks of a second of processor time, on all Linux. */
const TICKS = 100;

/** Processes from the moment of a kill on. */
class Struck {
  private readonly start = performance.now();
  private readonly before: readonly number[];
  private readonly since: number[];

  constructor(private readonly processes: readonly number[]) {
    this.before = processes.map((pid) => secondsOf(pid) ?? 0);
    this.since = processes.map(() => 0);
  }

  /** All of them together had so much since: on a busy machine an end takes long that needs little. */
  get processorSeconds(): number {
    return this.since.reduce((sum, seconds) => sum + seconds, 0);
  }

  /** Seconds until all are gone, or more than they are given. */
  async untilGone(): Promise<number> {
    for (;;) {
      const seconds = this.processes.map(secondsOf);
      seconds.forEach((now, i) => (this.since[i] = now === null ? this.since[i] : now - this.before[i]));
      const passed = (performance.now() - this.start) / 1000;
      if (seconds.every((now) => now === null) || passed > PATIENCE) return passed;
      await sleep(50);
    }
  }
}

/** Of processor time that a process has had; null where it is gone, or waits for its parent to hear of its end. */
function secondsOf(pid: number): number | null {
  try {
    const status = processStatus(pid);
    return status[0] === 'Z' ? null : (Number(status[11]) + Number(status[12])) / TICKS;
  } catch {
    return null;
  }
}

function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}

async function largestDifference(a: string, b: string): Promise<number> {
  const [x, y] = [(await readSafetensorsFile(a)).tensors, (await readSafetensorsFile(b)).tensors];
  let largest = 0;
  for (const [name, own] of x) {
    const other = toFloat32(y.get(name)!);
    toFloat32(own).forEach((value, i) => (largest = Math.max(largest, Math.abs(value - other[i]))));
  }
  return largest;
}
