import { existsSync, mkdirSync, readdirSync, rmSync, watch } from 'node:fs';
import { join } from 'node:path';
import { Broken, drawsOf, expectThat, runWell, sleep, smallRecipe, startDeit, weightsOf } from './drill.ts';
import type { DrillOptions, Running } from './drill.ts';

const KILLS = 200;
const STEPS = 16;
/** What a kill aims at: any moment from the start of the process, the training itself, or the writing of a checkpoint. */
const AIMS = ['anywhere', 'training', 'writing', 'writing'] as const;
/** Share of the kills that has to fall inside the writing of a checkpoint. */
const LEAST_WRITING = 0.2;

/**
 * Ends a training run by `kill -9` at random moments, resumes it each time by `--resume auto`, and compares the final
 * weights of every run that got to its end with those of an unbroken one.
 */
export async function kill({ folder, count, seed, say }: DrillOptions): Promise<string> {
  const kills = count ?? KILLS;
  const draws = drawsOf(seed);
  // A checkpoint after every step, of 3.5 MB, so that the writing is not over in a moment.
  const recipe = smallRecipe(folder, {
    model: { name: 'deit_tiny_patch16_224 img_size=32 patch_size=8 embed_dim=96 depth=2 heads=3 num_classes=10' },
    data: { batchSize: 8 },
    run: { evaluateEvery: 0, checkpointEvery: 1 },
  });
  const run = join(folder, 'run');
  const args = ['train', '--recipe', recipe, '--steps', String(STEPS), '--output', run, '--resume', 'auto'];
  const began = performance.now();
  await runWell(args);
  const seconds = (performance.now() - began) / 1000;
  const expected = weightsOf(run);
  rmSync(run, { recursive: true });
  let [done, inside, finished] = [0, 0, 0];
  const complete = (): void => {
    expectThat(weightsOf(run) === expected, `after ${done} kills the final weights are not those of the unbroken run`);
    finished++;
    rmSync(run, { recursive: true });
  };
  while (done < kills) {
    const running = await startDeit(args);
    const wasKilled = await strike(running, AIMS[draws.integer(AIMS.length)], run, seconds, draws);
    const { code, output } = await running.finished;
    if (!wasKilled) {
      if (code !== 0) throw new Broken(`resuming failed after ${done} kills:\n${output}`);
      complete();
      continue;
    }
    done++;
    if (leftovers(run).length > 0) inside++;
    if (done % 20 === 0) say(`${done} kills, ${inside} of them inside the writing of a checkpoint`);
  }
  await runWell(args);
  complete();
  expectThat(
    inside >= Math.floor(LEAST_WRITING * kills),
    `only ${inside} of ${kills} kills hit the writing of a checkpoint`,
  );
  return `${done} kills, ${inside} inside the writing of a checkpoint, ${finished} runs of ${STEPS} steps came to the same weights`;
}

/** Kills the process at the moment aimed at. Returns whether it was still there. */
async function strike(
  { child, finished, said }: Running,
  aim: (typeof AIMS)[number],
  run: string,
  seconds: number,
  draws: ReturnType<typeof drawsOf>,
): Promise<boolean> {
  const over = finished.then(() => undefined);
  if (aim === 'anywhere') await Promise.race([over, sleep(1000 * draws.uniform(0, seconds))]);
  else {
    await Promise.race([said(/student +\d+\//).catch(() => undefined), over]);
    if (aim === 'training') await Promise.race([over, sleep(1000 * draws.uniform(0, seconds / 4))]);
    else await Promise.race([over, writing(run)]);
  }
  if (child.exitCode !== null) return false;
  return child.kill('SIGKILL');
}

/** Resolves when a checkpoint has just been begun. */
function writing(run: string): Promise<void> {
  const checkpoints = join(run, 'checkpoints');
  mkdirSync(checkpoints, { recursive: true });
  return new Promise((resolve) => {
    const watcher = watch(checkpoints, (_event, name) => {
      if (!name?.endsWith('.tmp') || !existsSync(join(checkpoints, name))) return;
      watcher.close();
      resolve();
    });
  });
}

/** Checkpoints that were begun and not finished. */
function leftovers(run: string): string[] {
  const checkpoints = join(run, 'checkpoints');
  return existsSync(checkpoints) ? readdirSync(checkpoints).filter((name) => name.endsWith('.tmp')) : [];
}
