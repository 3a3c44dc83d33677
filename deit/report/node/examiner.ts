import { measurePeak } from '../../../engine/node.ts';
import type { DispatchTime, Engine, Peak } from '../../../engine/node.ts';
import type { Classifier } from '../../models/classifier.ts';
import type { Sources } from '../../train/node/sources.ts';
import type { Analysis, TrainingFigures } from '../analysis.ts';
import { kernelFamilies } from '../analysis.ts';
import { analyzeModel } from '../examine-model.ts';
import { toDataUrl } from './pictures.ts';

/** What is looked at, and with which data. */
export interface Examined {
  readonly student: Classifier;
  readonly teacher: Classifier | null;
  readonly sources: Sources;
  readonly imageSize: number;
}

/** Gathers `analysis.json`: the parts of a report that need the models and the adapter. */
export class Examiner {
  constructor(private readonly engine: Engine) {}

  /** Runs a training step with every dispatch timed. The step itself computes what it would without. */
  async profile<Result>(
    step: () => Promise<Result>,
    images: number,
    found: (figures: TrainingFigures) => void,
  ): Promise<Result> {
    const { engine } = this;
    const memory = engine.memory();
    if (!engine.adapter.features.includes('timestamp-query')) {
      found({ profile: null, memory });
      return step();
    }
    const results: Result[] = [];
    const times: DispatchTime[] = await engine.timeDispatches(async () => {
      results.push(await step());
    });
    found({ profile: { families: kernelFamilies(times), images }, memory });
    return results[0];
  }

  async analyze(
    { student, teacher, sources, imageSize }: Examined,
    batchSize: number,
    training: TrainingFigures | null,
  ): Promise<Analysis> {
    const { engine } = this;
    const { name, train, validation, classes } = sources;
    const source = sources.evaluation(batchSize);
    const model = await analyzeModel({ engine, student, teacher, source, classes, imageSize, encode: toDataUrl });
    const peak: Peak | null = training ? await measurePeak(engine) : null;
    return { data: { name, training: train.length, heldOut: validation.length }, model, training, peak };
  }
}
