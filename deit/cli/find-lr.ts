/** `deit train --find-lr`: a learning rate for a recipe, with a plot. */
import { writeFileAtomically } from '../../engine/node.ts';
import { DeitError } from '../../engine/index.ts';
import { renderLrTest } from '../report/lr-test.ts';
import { pageAssets } from '../report/node/run-files.ts';
import { findLr } from '../train/node/find-lr.ts';
import type { LrRange } from '../train/lr-finder.ts';
import { lrOfStep } from '../train/lr-finder.ts';
import { Progress } from './progress.ts';
import { recipeOf } from './recipe-options.ts';
import type { TrainOptions } from './recipe-options.ts';
import { parseNumber, withEngine } from './session.ts';
import { onSignals } from './signals.ts';

export interface FindLrCommand {
  /** True, or the file of the plot. */
  findLr?: true | string;
  lrMin: string;
  lrMax: string;
}

const STEPS = '100';
const PLOT = 'find-lr.html';

export async function findLearningRate(options: TrainOptions & FindLrCommand): Promise<void> {
  const { findLr: output, lrMin, lrMax, steps = STEPS, ...others } = options;
  if (options.resume !== undefined || options.processes !== undefined) {
    throw new DeitError('bad-config', '--find-lr looks for a rate before a run is begun, in one process.', {
      found: options.resume === undefined ? '--processes' : '--resume',
    });
  }
  const range: LrRange = {
    min: parseNumber(lrMin, '--lr-min'),
    max: parseNumber(lrMax, '--lr-max'),
    steps: parseNumber(steps, '--steps', { least: 1, whole: true }),
  };
  // Wrong bounds are told before the adapter is opened.
  lrOfStep(range, 0);
  const { name, recipe } = await recipeOf(others);
  const stop = new AbortController();
  const caught = onSignals(stop, { quiet: true });
  try {
    await withEngine({ ...options, seed: recipe['run.seed'] }, async (engine, say) => {
      say(`recipe: ${name}; optim.lr from ${range.min} to ${range.max} in ${range.steps} steps; no run is begun and no weights are kept`); // prettier-ignore
      const bar = new Progress('steps', range.steps, 0, 'compiling');
      const found = await findLr(engine, recipe, {
        range,
        say,
        onStep: ({ step, lr, loss }) => bar.update(step, `rate ${lr.toExponential(1)} loss ${loss.toFixed(3)}`),
        signal: stop.signal,
      });
      bar.stop();
      process.exitCode = caught.exitCode;
      const file = output === true || output === undefined ? PLOT : output;
      const [first, last] = [found.points[0], found.points.at(-1)];
      if (first && last) say(`smoothed loss: ${first.smoothed.toFixed(3)} at ${first.lr.toExponential(1)}, ${last.smoothed.toFixed(3)} at ${last.lr.toExponential(1)}${found.diverged ? ', where it diverged' : ''}`); // prettier-ignore
      say(
        found.suggestion === null
          ? 'no suggestion: the loss fell at no rate; try more --steps, or other bounds'
          : `it falls fastest at --set optim.lr=${Number(found.suggestion.toPrecision(2))}`,
      );
      const page = renderLrTest(name, found, await pageAssets());
      await writeFileAtomically(file, [Buffer.from(page)]);
      say(`plot: ${file}`);
      if (options.json) process.stdout.write(`${JSON.stringify({ suggestion: found.suggestion, diverged: found.diverged, points: found.points })}\n`); // prettier-ignore
    });
  } finally {
    caught.release();
  }
}
