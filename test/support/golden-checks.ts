/**
 * What an implementation of WebGPU has to get right, without a test runner: it runs in other runtimes than Node, and on
 * machines that have nothing of this repository but a bundle.
 */
import type { Engine } from '../../engine/index.ts';
import { goldenModel, goldenModels } from './golden-models.ts';
import { goldenOpCases, runOpCases } from './golden-ops.ts';
import { goldenTensors } from './golden.ts';
import { uniform } from './generator.ts';
import { compareRun, goldenRuns, trainGolden } from './golden-training.ts';
import type { Comparison } from './golden-training.ts';
import { relativeError } from './relative-error.ts';
import { describeWrong } from './tolerance.ts';

/** Every operator, forward and backward, on every golden case. */
export interface OperatorCheck {
  readonly operators: number;
  readonly results: number;
  /** A line for each result beyond the tolerance, and for each operator that failed. */
  readonly wrong: readonly string[];
}

export async function checkOperators(engine: Engine): Promise<OperatorCheck> {
  const cases = goldenOpCases();
  const wrong: string[] = [];
  let results = 0;
  for (const [op, rows] of cases) {
    try {
      const found = await runOpCases(engine, rows);
      results += found.length;
      wrong.push(...found.flatMap(describeWrong));
    } catch (error) {
      wrong.push(`${op}: ${String(error)}`);
    }
  }
  return { operators: cases.size, results, wrong };
}

/** The losses of the first steps of a distilled run (hard labels of a teacher, AdamW) beside PyTorch's. */
export async function checkTraining(engine: Engine, steps: number): Promise<Comparison[]> {
  const run = goldenRuns.find(({ key }) => key === 'deit_hard')!;
  const trained = await trainGolden(engine, run, { steps });
  return compareRun(run, trained).losses;
}

/** Logits of RegNetYs in evaluation mode beside timm's: see regnety.test.ts for the tolerance. */
export async function checkTeachers(engine: Engine): Promise<Comparison[]> {
  const comparisons: Comparison[] = [];
  for (const golden of goldenModels.filter(({ family }) => family === 'regnety')) {
    const { batch, imageSize, images, file, key } = golden;
    const stored = goldenTensors(file);
    const model = goldenModel(engine, golden).eval();
    const pixels = uniform(images, batch * 3 * imageSize ** 2, 0, 2);
    const logits = await engine.scope(() =>
      engine.noGrad(() => model.heads(engine.tensor(pixels, [batch, 3, imageSize, imageSize])).cls.read()),
    );
    comparisons.push({
      what: `${key}, logits`,
      error: relativeError(logits, stored('eval.logits').values),
      allowed: 4 * stored('drift.eval.logits').values[0] + 5e-7,
    });
    for (const tensor of model.stateDict().values()) engine.free(tensor);
  }
  return comparisons;
}
