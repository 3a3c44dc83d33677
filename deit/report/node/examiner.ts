/** What only the models and the adapter can tell a report, gathered at the end of a training. Node only. */
import { measurePeak } from '../../../engine/node.ts';
import type { Engine } from '../../../engine/node.ts';
import type { StepProfile } from '../../train/node/train-model.ts';
import type { TrainedRun } from '../../train/node/training-run.ts';
import type { Analysis, TrainingFigures } from '../analysis.ts';
import { kernelFamilies } from '../analysis.ts';
import { analyzeModel } from '../examine-model.ts';
import { toDataUrl } from './pictures.ts';

/** The content of `analysis.json`. Evaluates the models in batches of `batchSize` images. */
export async function examineRun(engine: Engine, run: TrainedRun, batchSize: number): Promise<Analysis> {
  const { student, teacher, sources, imageSize, profile } = run;
  const { name, train, validation, classes } = sources;
  const source = sources.evaluation(batchSize);
  const model = await analyzeModel({ engine, student, teacher, source, classes, imageSize, encode: toDataUrl });
  const peak = profile ? await measurePeak(engine) : null;
  return {
    data: { name, training: train.length, heldOut: validation.length },
    model,
    training: profile && figuresOf(profile),
    peak,
  };
}

const figuresOf = ({ times, images, memory }: StepProfile): TrainingFigures => ({
  profile: times && { families: kernelFamilies(times), images },
  memory,
});
