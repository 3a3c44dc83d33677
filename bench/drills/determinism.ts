import { join } from 'node:path';
import type { Engine, EngineOptions, Recording } from '../../engine/node.ts';
import type { Overrides } from '../../deit/node.ts';
import { expectThat, lossesOf, weightsOf } from './drill.ts';
import type { DrillOptions } from './drill.ts';
import { openFolder, smallOverrides, trainInProcess } from './in-process.ts';

const STEPS = 24;

interface Variant {
  readonly overrides?: Overrides;
  readonly engineOptions?: EngineOptions;
  readonly onEngine?: (engine: Engine) => void;
}

const variants: Readonly<Record<string, Variant>> = {
  'the same again': {},
  'one data worker': { overrides: { 'data.workers': 1 } },
  'two data workers': { overrides: { 'data.workers': 2 } },
  'a checkpoint every step': { overrides: { 'run.checkpointEvery': 1 } },
  'a checkpoint every 7 steps': { overrides: { 'run.checkpointEvery': 7 } },
  'no reuse of buffers, all memory NaN at first': { engineOptions: { debug: true } },
  'every step recorded anew': { onEngine: withoutReplay },
};

/** The same seed gives the same losses and weights to the bit, however the work is done. */
export async function determinism({ folder, say }: DrillOptions): Promise<string> {
  const run = async (name: string, { overrides, ...rest }: Variant): Promise<string> => {
    const all = { ...smallOverrides(), 'schedule.steps': STEPS, ...overrides };
    const run = await openFolder(join(folder, name), all);
    await trainInProcess({ overrides: all, folder: run, ...rest });
    run.close();
    say(`${name}: ${weightsOf(run.path).slice(0, 16)}`);
    return run.path;
  };
  const first = await run('first', {});
  for (const [name, variant] of Object.entries(variants)) {
    const path = await run(name, variant);
    expectThat(lossesOf(path).join() === lossesOf(first).join(), `${name}: the losses differ`);
    expectThat(weightsOf(path) === weightsOf(first), `${name}: the final weights differ`);
  }
  const other = await run('another seed', { overrides: { 'run.seed': 1 } });
  expectThat(weightsOf(other) !== weightsOf(first), 'another seed gave the same weights');
  return `${Object.keys(variants).length} ways to do the same ${STEPS} steps gave the same bits: ${Object.keys(variants).join('; ')}`;
}

/** Makes replays call the operators again. */
function withoutReplay(engine: Engine): void {
  const works = new WeakMap<Recording, () => void>();
  const record = engine.record.bind(engine);
  engine.record = (work) => {
    const recording = record(work);
    works.set(recording, work);
    return recording;
  };
  engine.replay = (recording) => engine.scope(works.get(recording)!);
}
