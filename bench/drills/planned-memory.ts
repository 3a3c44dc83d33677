import { join } from 'node:path';
import { resolveRecipe } from '../../deit/node.ts';
import { planTraining } from '../../deit/train/training-plan.ts';
import { createEngine } from '../../engine/node.ts';
import { expectThat } from './drill.ts';
import type { DrillOptions } from './drill.ts';
import { openFolder, smallOverrides, trainInProcess } from './in-process.ts';

/** How far the prediction may be from what is measured. */
const TOLERANCE = 0.1;
const STEPS = 4;

/** The peak of GPU memory predicted before a training is within 10 % of the measured one, for several shapes of training. */
export async function plan({ folder, say }: DrillOptions): Promise<string> {
  const shapes = {
    'two micro-batches': {},
    'one batch': { 'data.accumulate': 1 },
    'four times the images': { 'data.accumulate': 1, 'data.batchSize': 64 },
    'without moving average': { 'optim.ema': null },
    SGD: { 'optim.name': 'sgd' },
  };
  let worst = 0;
  for (const [name, changes] of Object.entries(shapes)) {
    const overrides = { ...smallOverrides(), ...changes, 'schedule.steps': STEPS };
    const engine = await createEngine();
    const { peakBytes } = await planTraining(engine, resolveRecipe(overrides), 10, { search: false });
    engine.close();
    const run = await openFolder(join(folder, name), overrides);
    let measured = 0;
    await trainInProcess({
      overrides,
      folder: run,
      // After the last step the adapter itself is measured, with buffers of its own.
      onStep: ({ step }, running) => {
        if (step < STEPS) measured = running.memory().peakBytes;
      },
    });
    run.close();
    const error = Math.abs(peakBytes - measured) / measured;
    say(`${name}: predicted ${peakBytes}, measured ${measured}`);
    worst = Math.max(worst, error);
    expectThat(error <= TOLERANCE, `${name}: predicted ${peakBytes} bytes, measured ${measured}`);
  }
  return `${Object.keys(shapes).length} trainings, predicted peak at most ${(100 * worst).toFixed(1)} % off`;
}
