import { join } from 'node:path';
import { outliveDevices } from '../../deit/train/node/recovery.ts';
import { drawsOf, expectThat, weightsOf } from './drill.ts';
import type { DrillOptions } from './drill.ts';
import { openFolder, smallOverrides, trainInProcess } from './in-process.ts';

const LOSSES = 20;
/** Steps between two losses at most, a checkpoint being written every other step. */
const [STRETCH, EVERY] = [3, 2];
/** Milliseconds after a step's figures at which the device goes: within one of the next steps. */
const LATEST = 25;

/** Destroys the device in the middle of steps; the training goes on with new ones, to the same weights. */
export async function deviceLoss({ folder, count, seed, say }: DrillOptions): Promise<string> {
  const losses = count ?? LOSSES;
  const steps = losses * STRETCH + 6;
  const overrides = { ...smallOverrides(), 'schedule.steps': steps, 'run.checkpointEvery': EVERY };
  const whole = await openFolder(join(folder, 'whole'), overrides);
  await trainInProcess({ overrides, folder: whole });
  whole.close();
  const draws = drawsOf(seed);
  const broken = await openFolder(join(folder, 'broken'), overrides);
  let [lost, noticed, next] = [0, 0, 2];
  const hear = (line: string): void => {
    if (line.includes('device was lost')) noticed++;
    if (noticed === 1) say(line);
  };
  await outliveDevices(broken.path, hear, false, (resume) => {
    let isHit = false;
    return trainInProcess({
      overrides,
      folder: broken,
      resume,
      onStep: ({ step }, engine) => {
        if (isHit || lost === losses || step < next) return;
        isHit = true;
        lost++;
        next = step + EVERY + draws.integer(STRETCH - EVERY + 1);
        setTimeout(() => engine.loseDevice(), draws.uniform(0, LATEST));
      },
    });
  });
  broken.close();
  expectThat(lost === losses && noticed === losses, `${lost} devices were destroyed, ${noticed} losses noticed`);
  expectThat(
    weightsOf(broken.path) === weightsOf(whole.path),
    'the final weights differ from those of the unbroken run',
  );
  return `${lost} devices destroyed in ${steps} steps, all noticed, the final weights those of the unbroken run`;
}
