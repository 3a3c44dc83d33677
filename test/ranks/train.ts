/**
 * What the tests of runs on several ranks start: `deit`, with a fault in one step of one rank.
 *
 *     train.ts FAULT RANK STEP deit's arguments
 */
import { run } from '../../deit/cli/run.ts';
import { detectLaunch } from '../../deit/parallel/node/launcher.ts';
import { TrainStep } from '../../deit/train/step.ts';
import type { StepUnderWay, TrainStepOptions } from '../../deit/train/step.ts';

const [fault, rank, at, ...args] = process.argv.slice(2);
const isHit = (detectLaunch()?.rank ?? 0) === Number(rank);
const begin = Reflect.get(TrainStep.prototype, 'begin') as (this: TrainStep, ...args: unknown[]) => StepUnderWay;
const faults: Readonly<Record<string, (options: TrainStepOptions, images: Float32Array) => void>> = {
  none: () => undefined,
  throw: () => {
    throw new Error('thrown by the test');
  },
  nan: (_options, images) => void (images[7] = NaN),
  lost: ({ engine }) => engine.loseDevice(),
  kill: () => void process.kill(process.pid, 'SIGKILL'),
  signal: () => void process.kill(process.pid, 'SIGUSR2'),
};
TrainStep.prototype.begin = function (batches, step, ...rest) {
  const { options } = this as unknown as { options: TrainStepOptions };
  if (isHit && step + 1 === Number(at)) faults[fault](options, batches[0].images);
  return begin.call(this, batches, step, ...rest);
};
process.exitCode = await run(args);
