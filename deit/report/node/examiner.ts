/** What only the models and the adapter can tell a report, gathered at the end of a training. Node only. */
import { measurePeak } from '../../../engine/node.ts';
import type { Engine, Peak } from '../../../engine/node.ts';
import type { StepProfile } from '../../train/node/train-model.ts';
import type { TrainedRun } from '../../train/node/training-run.ts';
import type { Analysis, TrainingFigures } from '../analysis.ts';
import { kernelFamilies } from '../analysis.ts';
import type { Answers } from '../answers.ts';
import { analyzeModel } from '../examine-model.ts';
import { toDataUrl } from './pictures.ts';

/** The content of `analysis.json` and `answers.json`. Evaluates the models in batches of `batchSize` images. */
export async function examineRun(
  engine: Engine,
  run: TrainedRun,
  batchSize: number,
): Promise<{ analysis: Analysis; answers: Answers }> {
  const { student, teacher, sources, imageSize, profile } = run;
  const { name, train, validation, classes } = sources;
  const source = sources.evaluation(batchSize);
  const options = { engine, student, teacher, source, classes, imageSize, encode: toDataUrl };
  const { model, answers } = await analyzeModel(options);
  const peak = profile ? await peakOf(engine) : null;
  const analysis = {
    data: { name, training: train.length, heldOut: validation.length },
    model,
    training: profile && figuresOf(profile),
    peak,
  };
  return { analysis, answers };
}

const peaks = new Map<string, Peak>();

/** Measured once in a process, however many runs it trains: the adapter stays the same. */
async function peakOf(engine: Engine): Promise<Peak> {
  const { name } = engine.adapter;
  const peak = peaks.get(name) ?? (await measurePeak(engine));
  peaks.set(name, peak);
  return peak;
}

const figuresOf = ({ times, images, memory }: StepProfile): TrainingFigures => ({
  profile: times && { families: kernelFamilies(times), images },
  memory,
});
