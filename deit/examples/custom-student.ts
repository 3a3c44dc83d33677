/**
 * Distillation of your own student: a small convolutional network learns from a RegNetY that is trained here first.
 * Run it: npx tsx deit/examples/custom-student.ts [steps]
 */
import { createEngine, globalAvgPool } from '../../engine/node.ts';
import type { Engine, Shape, Tensor } from '../../engine/node.ts';
import { AdamW, BatchNorm2d, Conv2d, Linear, Module, Sequential, decayGroups, learningRate } from '../../nn/index.ts';
import type { LayerShapes } from '../../nn/index.ts';
import { DataLoader, TrainStep, createModel, openData, sampleName, trainSteps, trainingPipeline } from '../node.ts';
import type { Classifier, Distillation, Logits } from '../node.ts';

const STEPS = Number(process.argv[2] ?? 60);

/** Three convolutions of stride 2 with batch norm and ReLU, average pooling, a linear head. */
class StudentNet extends Module implements Classifier {
  readonly distilled = false;
  precision = 'f32' as const;
  private readonly features: Sequential;
  private readonly head: Linear;

  constructor(
    engine: Engine,
    readonly classes: number,
    widths = [3, 16, 32, 64],
  ) {
    super();
    const options = { stride: 2, padding: 1, bias: false };
    const layers = widths
      .slice(1)
      .flatMap((width, i) => [
        new Conv2d(engine, widths[i], width, 3, options),
        new BatchNorm2d(engine, width, { relu: true }),
      ]);
    this.features = new Sequential(...layers);
    this.head = new Linear(engine, widths.at(-1)!, classes);
  }

  heads(images: Tensor): Logits {
    return { cls: this.head.forward(globalAvgPool(this.features.forward(images))), dist: null };
  }

  describe(image: Shape): LayerShapes {
    const parts = [this.features.describe(image), this.head.describe([this.head.inFeatures])];
    return { module: this, type: 'StudentNet', outputShape: [this.classes], parts };
  }
}

const engine = await createEngine({ seed: 0 });
const { train } = await openData(sampleName);
const pipeline = trainingPipeline({ imageSize: 32, crop: 'padded', autoAugment: null, erasing: null });
const options = { seed: 0, workers: 0, batchSize: 32, shuffle: true, dropLast: true };
const source = new DataLoader({ ...options, dataset: train, pipeline });

/** Trains a model, by the labels alone or by a teacher too, and returns the loss of every step. */
async function trainModel(model: Classifier, teacher: Classifier | null): Promise<number[]> {
  const optimizer = new AdamW(decayGroups(model.namedParameters(), 0.05), { skipNonFinite: true });
  const distillation: Distillation = { type: teacher ? 'soft' : 'none', alpha: 0.5, tau: 3, scaling: 'batchmean' };
  const step = new TrainStep({
    ...{ engine, student: model.train(), teacher, optimizer, distillation, smoothing: 0.1 },
    ...{ mixing: null, ema: null, batchSize: source.batchSize, accumulate: 1, imageSize: 32 },
  });
  const schedule = { base: 3e-3, epochs: STEPS / source.batchesPerEpoch, warmupEpochs: 0.05 };
  const losses: number[] = [];
  const steps = trainSteps({
    source,
    accumulate: 1,
    length: { steps: STEPS, seconds: null },
    schedule: (number) => learningRate(schedule, number, source.batchesPerEpoch),
    run: (batches, number, lr) => step.run(batches, number, lr),
  });
  for await (const { progress } of steps) losses.push(progress.lossLabel);
  step.release();
  return losses;
}

const teacher = createModel(
  engine,
  'regnety_002 stem_stride=1 stem_width=16 w0=16 wa=16 wm=2 depth=4 group_size=8 num_classes=10',
);
const teacherLosses = await trainModel(teacher, null);
teacher.requiresGrad_(false).eval();
const student = new StudentNet(engine, 10);
const studentLosses = await trainModel(student, teacher);
console.log(JSON.stringify({ parameters: student.numParameters(), teacherLosses, studentLosses }));
engine.close();
