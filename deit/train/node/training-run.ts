import type { Engine } from '../../../engine/node.ts';
import { DeitError } from '../../../engine/index.ts';
import { AdamW, SGD, decayGroups, learningRate, stateValues } from '../../../nn/index.ts';
import type { Optimizer, Schedule } from '../../../nn/index.ts';
import type { MixOptions } from '../../data/index.ts';
import type { Classifier } from '../../models/classifier.ts';
import { createModel, describeModel } from '../../models/registry.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { loadWeights } from '../../weights/index.ts';
import { Evaluator } from '../evaluate.ts';
import type { Accuracy } from '../evaluate.ts';
import { fit } from '../fit.ts';
import type { FitProgress } from '../fit.ts';
import { TrainStep } from '../step.ts';
import { openCheckpoint, saveModel } from './checkpoint.ts';
import type { ModelCard } from './checkpoint.ts';
import { RunFolder } from './run-folder.ts';
import { openSources } from './sources.ts';
import type { Sources } from './sources.ts';

/** Who is being trained, for reports. */
export type Role = 'teacher' | 'student';

/** Where a run tells what it does. */
export interface Reporter {
  say(line: string): void;
  begin(role: Role, steps: number): void;
  step(role: Role, progress: FitProgress): void;
  end(role: Role, accuracy: Accuracy): void;
}

export interface TrainResult {
  readonly accuracy: {
    readonly teacher: number | null;
    readonly class: number;
    readonly distillation: number | null;
    readonly average: number;
  };
  readonly steps: number;
  readonly seconds: number;
  readonly imagesPerSecond: number;
  readonly adapter: string;
  readonly runFolder: string;
}

/** Trains what a recipe describes, writes its run folder, and returns the held-out accuracies. */
export async function trainRecipe(
  engine: Engine,
  recipe: Recipe,
  folder: RunFolder,
  reporter: Reporter,
): Promise<TrainResult> {
  return new TrainingRun(engine, recipe, folder, reporter).run();
}

class TrainingRun {
  private readonly start = performance.now();

  constructor(
    private readonly engine: Engine,
    private readonly recipe: Recipe,
    private readonly folder: RunFolder,
    private readonly reporter: Reporter,
  ) {}

  async run(): Promise<TrainResult> {
    const { engine, recipe, folder, reporter } = this;
    const student = describeModel(recipe['model.name']);
    const sources = await openSources(recipe, student.imageSize);
    try {
      this.checkClasses(recipe['model.name'], student.classes, sources);
      reporter.say(
        `data: ${sources.name}, ${sources.train.length} training and ${sources.validation.length} held-out images`,
      );
      const teacher = await this.teacher(sources, student.imageSize);
      const model = createModel(engine, recipe['model.name'], { dropPath: recipe['model.dropPath'] });
      if (recipe['model.weights']) await this.load(model, recipe['model.weights']);
      if (teacher && !model.distilled) {
        reporter.say('the student has no distillation token: its class logits serve the labels and the teacher alike');
      }
      const { accuracy, steps, imagesPerSecond } = await this.train('student', model, teacher?.model ?? null, sources);
      await saveModel(
        folder.file('student.safetensors'),
        model,
        this.card(recipe['model.name'], student.imageSize, sources),
      );
      const result: TrainResult = {
        accuracy: {
          teacher: teacher?.accuracy.class ?? null,
          class: accuracy.class,
          distillation: accuracy.distillation,
          average: accuracy.average,
        },
        steps,
        seconds: this.seconds(),
        imagesPerSecond,
        adapter: engine.adapter.name,
        runFolder: folder.path,
      };
      await folder.writeJson('result.json', result);
      return result;
    } finally {
      await sources.close();
    }
  }

  /** The teacher, loaded or trained here, in evaluation mode and frozen; null without distillation. */
  private async teacher(
    sources: Sources,
    imageSize: number,
  ): Promise<{ model: Classifier; accuracy: Accuracy } | null> {
    const { engine, recipe, folder } = this;
    if (recipe['distillation.type'] === 'none') return null;
    const spec = recipe['teacher.model'];
    if (!spec) {
      throw new DeitError('bad-config', 'Distillation needs a teacher.', {
        where: 'teacher.model',
        fix: 'name one, for example --set "teacher.model=regnety_002 num_classes=10", or set distillation.type=none',
      });
    }
    const model = createModel(engine, spec);
    this.checkClasses(spec, model.classes, sources);
    if (recipe['teacher.weights']) {
      await this.load(model, recipe['teacher.weights']);
      model.requiresGrad_(false).eval();
      return { model, accuracy: await this.evaluate(model, sources, imageSize) };
    }
    const { accuracy } = await this.train('teacher', model, null, sources);
    model.requiresGrad_(false).eval();
    await saveModel(folder.file('teacher.safetensors'), model, this.card(spec, imageSize, sources));
    return { model, accuracy };
  }

  private async train(role: Role, model: Classifier, teacher: Classifier | null, sources: Sources) {
    const { engine, recipe, reporter, folder } = this;
    const { imageSize } = describeModel(recipe['model.name']);
    const accumulate = recipe['data.accumulate'];
    const batchSize = this.microBatch();
    const source = sources.training(batchSize);
    const optimizer = this.optimizer(role, model);
    model.train(role === 'teacher' || recipe['run.trainMode']);
    const trainStep = new TrainStep({
      engine,
      student: model,
      teacher,
      optimizer,
      distillation: {
        type: teacher ? recipe['distillation.type'] : 'none',
        alpha: recipe['distillation.alpha'],
        tau: recipe['distillation.tau'],
        scaling: recipe['distillation.scaling'],
      },
      smoothing: recipe['augment.smoothing'],
      mixing: role === 'student' ? this.mixing() : null,
      ema: null,
      batchSize,
      accumulate,
      imageSize,
    });
    const stepsPerEpoch = Math.max(1, Math.floor(source.batchesPerEpoch / accumulate));
    const length = this.length(role, stepsPerEpoch, !!teacher);
    let last: FitProgress | null = null;
    reporter.begin(role, length.steps);
    const { done: steps } = await fit({
      trainStep,
      source,
      accumulate,
      length,
      schedule: (step, total) => learningRate(this.schedule(role, total / stepsPerEpoch), step, stepsPerEpoch),
      onStep: (progress) => {
        last = progress;
        folder.appendMetrics({ role, ...progress });
        reporter.step(role, progress);
      },
    });
    trainStep.release();
    optimizer.free();
    const accuracy = await this.evaluate(model, sources, imageSize);
    folder.appendMetrics({ role, step: steps, accuracy });
    reporter.end(role, accuracy);
    return { accuracy, steps, imagesPerSecond: (last as FitProgress | null)?.imagesPerSecond ?? 0 };
  }

  private async evaluate(model: Classifier, sources: Sources, imageSize: number): Promise<Accuracy> {
    const evaluator = new Evaluator(this.engine, model, sources.evaluation(this.microBatch()), imageSize);
    try {
      return await evaluator.run();
    } finally {
      evaluator.release();
    }
  }

  private optimizer(role: Role, model: Classifier): Optimizer {
    const { recipe } = this;
    const common = { skipNonFinite: true, gradientScale: 1 / recipe['data.accumulate'] };
    if (role === 'teacher') {
      const groups = decayGroups(model.namedParameters(), recipe['teacher.weightDecay']);
      return new SGD(groups, { ...common, momentum: 0.9, nesterov: true, maxNorm: 5 });
    }
    for (const [name, parameter] of model.namedParameters()) parameter.requiresGrad_(this.isTrained(name));
    const rule = recipe['optim.decayDistToken'] ? 'deit' : 'timm';
    const groups = decayGroups(model.namedParameters(), recipe['optim.weightDecay'], rule);
    const settings = { ...common, maxNorm: recipe['optim.clip'] };
    return recipe['optim.name'] === 'sgd'
      ? new SGD(groups, { ...settings, momentum: recipe['optim.momentum'] })
      : new AdamW(groups, {
          ...settings,
          betas: [recipe['optim.beta1'], recipe['optim.beta2']],
          eps: recipe['optim.eps'],
        });
  }

  private isTrained(name: string): boolean {
    const { recipe } = this;
    const isHead = name.startsWith('head');
    // Without a teacher nothing reaches the distillation head; PyTorch's optimizers skip a parameter without gradient.
    if (name.startsWith('head_dist') && recipe['distillation.type'] === 'none') return false;
    if (recipe['optim.headOnly'] && !isHead) return false;
    const frozen = recipe['optim.freeze'].split(',').filter((prefix) => prefix.trim() !== '');
    return !frozen.some((prefix) => name.startsWith(prefix.trim()));
  }

  private schedule(role: Role, epochs: number): Schedule {
    const { recipe } = this;
    const batch = recipe['data.batchSize'];
    if (role === 'teacher') {
      const base = (recipe['teacher.lr'] * batch) / 256;
      return { base, epochs, warmupEpochs: Math.min(0.1 * epochs, 5), warmupLr: base / 10, minLr: 0, per: 'step' };
    }
    return {
      base: recipe['optim.lr'] * (recipe['optim.scaleLr'] ? batch / 512 : 1),
      epochs,
      warmupEpochs: recipe['schedule.warmupEpochs'],
      warmupLr: recipe['schedule.warmupLr'],
      minLr: recipe['schedule.minLr'],
      per: recipe['schedule.per'],
    };
  }

  /** Steps and seconds for the teacher or the student. With a time limit each has its share of what is left. */
  private length(role: Role, stepsPerEpoch: number, distilled: boolean) {
    const { recipe } = this;
    const share = recipe['teacher.share'];
    const total = recipe['schedule.steps'] ?? Math.round(recipe['schedule.epochs'] * stepsPerEpoch);
    const steps = Math.max(1, role === 'teacher' ? Math.round((total * share) / (1 - share)) : total);
    const minutes = recipe['schedule.minutes'];
    if (minutes === null) return { steps, seconds: null };
    const whole = minutes * 60;
    if (role === 'teacher') return { steps, seconds: whole * share };
    return { steps, seconds: distilled ? whole - this.seconds() : whole };
  }

  private mixing(): MixOptions | null {
    const { recipe } = this;
    const mixing: MixOptions = {
      mixupAlpha: recipe['augment.mixup'],
      cutmixAlpha: recipe['augment.cutmix'],
      probability: recipe['augment.mixProbability'],
      switchProbability: recipe['augment.mixSwitch'],
    };
    return mixing.mixupAlpha > 0 || mixing.cutmixAlpha > 0 ? mixing : null;
  }

  private microBatch(): number {
    const { recipe } = this;
    const [batch, accumulate] = [recipe['data.batchSize'], recipe['data.accumulate']];
    if (batch % accumulate === 0) return batch / accumulate;
    throw new DeitError('bad-config', 'The batch cannot be divided into the micro-batches asked for.', {
      where: 'data.batchSize, data.accumulate',
      found: `${batch} and ${accumulate}`,
      fix: 'choose a divisor of the batch size',
    });
  }

  private checkClasses(spec: string, classes: number, sources: Sources): void {
    if (classes === sources.classes.length) return;
    throw new DeitError('bad-config', 'The model has another number of classes than the data.', {
      where: `${spec} on ${sources.name}`,
      expected: `${sources.classes.length} classes`,
      found: String(classes),
      fix: `add num_classes=${sources.classes.length} to the model name`,
    });
  }

  private async load(model: Classifier, path: string): Promise<void> {
    const { tensors } = await openCheckpoint(path);
    loadWeights(model, stateValues(tensors));
  }

  private card(model: string, imageSize: number, sources: Sources): ModelCard {
    return {
      model,
      classes: sources.classes,
      imageSize,
      cropPct: 0.875,
      interpolation: 'bicubic',
      data: this.recipe['data.path'],
    };
  }

  private seconds(): number {
    return (performance.now() - this.start) / 1000;
  }
}
