import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DeitError, createEngine, spoilAt } from '../../engine/node.ts';
import type { Engine, Recorded } from '../../engine/node.ts';
import { RunFolder, nestRecipe, parseRecipe, resolveRecipe, trainRecipe } from '../../deit/node.ts';
import type { Overrides, TrainResult } from '../../deit/node.ts';
import { SMALL, expectThat, weightsOf } from './drill.ts';
import type { DrillOptions } from './drill.ts';

const STEPS = 6;
/** Optimizer step, from 0, in which the fault happens, and micro-batches in a step. */
const [FAULTY, MICRO] = [3, 2];

/**
 * One element of one output of each kind of operator, forward and backward, becomes NaN in one step of a training: the
 * run stops, names that operator, its module, step and batch, keeps the last good checkpoint, and, resumed without the
 * fault, ends with the weights of an unbroken run. With run.nonFinite=skip it leaves out that step alone.
 */
export async function nan({ folder, count, say }: DrillOptions): Promise<string> {
  const base = parseRecipe(JSON.stringify(SMALL), 'the small recipe');
  const common: Overrides = { ...base, 'schedule.steps': STEPS, 'run.checkpointEvery': 1, 'data.workers': 0 };
  const whole = join(folder, 'whole');
  const kinds = new Map<string, Recorded>();
  await train(common, whole, {
    onRecord: (recorded) => {
      const target = outputOf(recorded);
      if (target && !kinds.has(recorded.op)) kinds.set(recorded.op, recorded);
    },
  });
  // What only the optimizer, the figures and the preparation of the batch compute is no part of forward and backward.
  const isExamined = (op: string): boolean => !NOT_EXAMINED.test(op);
  const ops = [...kinds.keys()].filter(isExamined).slice(0, count ?? Infinity);
  let named = 0;
  for (const op of ops) {
    const run = join(folder, op);
    const { error } = await train(common, run, { spoil: op });
    expectThat(error?.code === 'non-finite', `NaN in ${op} was not noticed: ${String(error)}`);
    say(`${op}: ${error.details.found}`);
    expectThat(error.details.where!.startsWith(`step ${FAULTY + 1},`), `the wrong step was named: ${error.message}`);
    expectThat(
      error.details.found!.startsWith(`first in ${op} `),
      `the wrong operator was named for ${op}: ${error.message}`,
    );
    if (/^first in \S+ in /.test(error.details.found!)) named++;
    const last = (n: number): string => join(run, `checkpoints/student-${String(n).padStart(8, '0')}.safetensors`);
    expectThat(existsSync(last(FAULTY)) && !existsSync(last(FAULTY + 1)), `${op}: not the last good state was kept`);
    const resumed = await train(common, run, { resume: true });
    expectThat(resumed.error === null, `resuming failed: ${String(resumed.error)}`);
    expectThat(weightsOf(run) === weightsOf(whole), `resumed after NaN in ${op}, the final weights differ`);
  }
  const skipping = await train({ ...common, 'run.nonFinite': 'skip' }, join(folder, 'skip'), { spoil: ops.at(-1) });
  expectThat(skipping.result !== null && skipping.left === 1, `one step was to be left out, not ${skipping.left}`);
  return `${ops.length} kinds of operator, each named with step and batch, ${named} of them in a module; all resumed to the same weights; one step skipped on demand`;
}

// The small recipe adds nothing but the figures of its micro-batches.
const NOT_EXAMINED =
  /^(add$|full|mix|mixedTargets|mixOnGpu|countNonFinite|skipNonFiniteStep|gradNorm|adamW|sgd|emaStep|collect|countCorrect|pack|softTargets|checkOutputs)/;

interface Faults {
  readonly spoil?: string;
  readonly resume?: boolean;
  readonly onRecord?: (recorded: Recorded) => void;
}

async function train(overrides: Overrides, path: string, { spoil, resume, onRecord }: Faults) {
  const engine = await createEngine();
  const folder = resume ? RunFolder.open(path) : RunFolder.create('nan', path);
  let left = 0;
  const reporter = {
    say: (line: string) => void (left += Number(line.includes('was left out'))),
    begin: () => undefined,
    step: () => undefined,
    evaluated: () => undefined,
    end: () => undefined,
  };
  const recipe = resolveRecipe(overrides);
  try {
    if (!resume)
      await folder.writeJson('config.json', { version: '', command: [], name: 'nan', recipe: nestRecipe(recipe) });
    const watched = observed(engine, spoil, onRecord);
    const result = await trainRecipe(watched, { recipe, folder, reporter, resume });
    return { result: result as TrainResult | null, error: null, left };
  } catch (error) {
    if (error instanceof DeitError) return { result: null, error, left };
    throw error;
  } finally {
    folder.close();
    engine.close();
  }
}

/** Makes every `record` and `scope` of an engine observed: the fault is part of the recorded step, as a broken kernel's. */
function observed(engine: Engine, spoil: string | undefined, onRecord: Faults['onRecord']): Engine {
  let isSpoilt = false;
  const observer = (recorded: Recorded): void => {
    onRecord?.(recorded);
    if (recorded.op !== spoil || isSpoilt) return;
    const x = outputOf(recorded);
    if (!x) return;
    isSpoilt = true;
    spoilAt(x, x.size >> 1, FAULTY * MICRO + MICRO - 1);
  };
  const perCall = <Result>(work: () => Result): Result => {
    isSpoilt = false;
    return engine.observe(observer, work);
  };
  const { record, scope } = { record: engine.record.bind(engine), scope: engine.scope.bind(engine) };
  engine.record = (work) => record(() => perCall(work));
  engine.scope = (work) => scope(() => (spoil === undefined ? work() : perCall(work)));
  return engine;
}

const outputOf = ({ outputs }: Recorded) =>
  Object.values(outputs).find(({ dtype, size }) => dtype === 'f32' && size > 0);
