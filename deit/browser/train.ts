/** Trains a small teacher, and distils a small DeiT from it, on the CIFAR-10 sample. */
import type { Engine } from '../../engine/index.ts';
import { AdamW, decayGroups, learningRate } from '../../nn/index.ts';
import type { Schedule } from '../../nn/index.ts';
import { cifar10, cifar10Classes, evaluationPipeline, parseCifar, trainingPipeline } from '../data/index.ts';
import type { MemoryDataset } from '../data/index.ts';
import { createModel } from '../models/index.ts';
import type { Classifier } from '../models/index.ts';
import { Evaluator } from '../train/evaluate.ts';
import type { Accuracy } from '../train/tally.ts';
import { trainSteps } from '../train/train-steps.ts';
import type { StepProgress } from '../train/train-steps.ts';
import { TrainStep } from '../train/step.ts';
import { MemoryBatches } from './batches.ts';

export const TEACHER = 'regnety_002 num_classes=10 stem_stride=1 stem_width=16 w0=16 wa=16 wm=2 depth=4 group_size=8';
/** Without a teacher there is nothing that a distillation token could learn. */
export const studentSpec = (hasTeacher: boolean): string =>
  `deit_tiny${hasTeacher ? '_distilled' : ''}_patch16_224 img_size=32 patch_size=8 num_classes=10 embed_dim=96 depth=4`;

export interface Cifar {
  readonly train: MemoryDataset;
  readonly validation: MemoryDataset;
}

/** The sample, from its binary files. */
export function openSample(train: readonly Uint8Array[], validation: Uint8Array): Cifar {
  const named = (files: readonly Uint8Array[]) => files.map((bytes, i) => ({ name: `batch ${i + 1}`, bytes }));
  return {
    train: parseCifar(cifar10, named(train), cifar10Classes, 'train'),
    validation: parseCifar(cifar10, named([validation]), cifar10Classes, 'val'),
  };
}

export interface TrainingOptions {
  readonly engine: Engine;
  readonly data: Cifar;
  readonly teacherSteps: number;
  readonly studentSteps: number;
  readonly batchSize: number;
  readonly onStep: (role: 'teacher' | 'student', progress: StepProgress) => void;
  /** Now and then, with the model as it is. */
  readonly onLook: (student: Classifier, accuracy: Accuracy) => Promise<void>;
  readonly signal: AbortSignal;
}

/** Looks at the student so often in the course of its training, but not after fewer steps than this. */
const LOOKS = 8;
const STEPS_BETWEEN_LOOKS = 25;

export async function trainInPage(options: TrainingOptions): Promise<void> {
  const { engine, teacherSteps, studentSteps, signal, onLook, data } = options;
  const teacher = teacherSteps > 0 ? createModel(engine, TEACHER) : null;
  if (teacher) {
    await trainOne(options, 'teacher', teacher, null, teacherSteps);
    teacher.requiresGrad_(false).eval();
  }
  if (signal.aborted) return;
  const student = createModel(engine, studentSpec(teacher !== null));
  const heldOut = new MemoryBatches(
    data.validation,
    evaluationPipeline({ imageSize: 32, cropPct: 1 }),
    options.batchSize,
  );
  const evaluator = new Evaluator(engine, student, heldOut, 32);
  const every = Math.max(STEPS_BETWEEN_LOOKS, Math.ceil(studentSteps / LOOKS));
  const look = async (): Promise<void> => onLook(student, await evaluator.run());
  await trainOne(options, 'student', student, teacher, studentSteps, every, look);
  evaluator.release();
}

async function trainOne(
  { engine, data, batchSize, onStep, signal }: TrainingOptions,
  role: 'teacher' | 'student',
  model: Classifier,
  teacher: Classifier | null,
  steps: number,
  lookEvery = Infinity,
  onLook = () => Promise.resolve(),
): Promise<void> {
  const pipeline = trainingPipeline({ imageSize: 32, crop: 'padded', autoAugment: null, erasing: null });
  const source = new MemoryBatches(data.train, pipeline, batchSize, engine.seed);
  const settings = { betas: [0.9, 0.999] as const, eps: 1e-8, maxNorm: 1, skipNonFinite: true };
  const optimizer = new AdamW(decayGroups(model.namedParameters(), 0.05), settings);
  model.train();
  const trainStep = new TrainStep({
    engine,
    student: model,
    teacher,
    optimizer,
    distillation: { type: teacher ? 'hard' : 'none', alpha: 0.5, tau: 1, scaling: 'all' },
    smoothing: 0.1,
    mixing: null,
    ema: null,
    batchSize,
    accumulate: 1,
    imageSize: 32,
  });
  const epochs = steps / source.batchesPerEpoch;
  const base = role === 'teacher' ? 3e-3 : 1e-3;
  const schedule: Schedule = { base, epochs, warmupEpochs: 0.1 * epochs, warmupLr: 1e-6, minLr: 1e-5, per: 'step' };
  const training = trainSteps({
    source,
    accumulate: 1,
    length: { steps, seconds: null },
    schedule: (step) => learningRate(schedule, step, source.batchesPerEpoch),
    run: (batches, step, lr) => trainStep.run(batches, step, lr),
    settleAfter: (step) => step % lookEvery === 0,
    signal,
  });
  for await (const { progress, settled } of training) {
    onStep(role, progress);
    if (settled && progress.step < steps) await onLook();
  }
  // Before the optimizer gives up the memory of the parameters, on which recordings of the model rely.
  await onLook();
  trainStep.release();
  optimizer.free();
}
