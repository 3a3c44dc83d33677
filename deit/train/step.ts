import {
  add,
  collect,
  countCorrect,
  findNonFinite,
  mixOnGpu,
  mixedTargets,
  mul,
  noteNonFiniteLoss,
} from '../../engine/index.ts';
import type { Engine, NonFiniteOutput, Recording, Tensor } from '../../engine/index.ts';
import { trackBatches, withModulePaths } from '../../nn/index.ts';
import type { Ema, Optimizer } from '../../nn/index.ts';
import { checkMixBatch, drawMix, mixStream } from '../data/index.ts';
import type { MixOptions, MixParameters } from '../data/index.ts';
import { distillationLoss } from '../distillation.ts';
import type { Distillation, Target } from '../distillation.ts';
import type { Classifier } from '../models/classifier.ts';
import type { Batch } from './batches.ts';

export interface TrainStepOptions {
  readonly engine: Engine;
  readonly student: Classifier;
  /** Frozen, in evaluation mode; sees the very tensor that the student sees. Null without distillation. */
  readonly teacher: Classifier | null;
  /** Scales gradients by 1 / accumulate, and measures their norm. */
  readonly optimizer: Optimizer;
  readonly distillation: Distillation;
  readonly smoothing: number;
  /** Mixup and cutmix, on the GPU; null for none. */
  readonly mixing: MixOptions | null;
  /** Moving average of the student, updated after each step. */
  readonly ema: Ema | null;
  /** Images in one micro-batch, and micro-batches in one optimizer step. */
  readonly batchSize: number;
  readonly accumulate: number;
  readonly imageSize: number;
  /** After a NaN or infinity in the loss or a gradient: apply no step any more (default), or leave out that one. */
  readonly nonFinite?: 'stop' | 'skip';
}

/** What one optimizer step did, averaged over its micro-batches. */
export interface StepMetrics {
  readonly loss: number;
  readonly lossLabel: number;
  /** Null without distillation. */
  readonly lossDistillation: number | null;
  /** Share of the (augmented) training images that each head gets right. */
  readonly accuracy: number;
  readonly accuracyDistillation: number | null;
  /** Global norm of the gradient before clipping. */
  readonly gradNorm: number;
  /** Elements of the gradient, and losses, that are NaN or infinite; the step was not applied if there are any. */
  readonly nonFinite: number;
  /**
   * The factor on the loss of the next step, and whether this one was left out since that of this step was too large (such
   * elements are not counted in `nonFinite`). Null in f32.
   */
  readonly lossScale: { readonly next: number; readonly overflowed: boolean } | null;
}

const KINDS = { none: 0, mixup: 1, cutmix: 2 } as const;

function mixRow(mix: MixParameters): number[] {
  const { top, left, bottom, right } = mix.kind === 'cutmix' ? mix.box : { top: 0, left: 0, bottom: 0, right: 0 };
  return [KINDS[mix.kind], mix.lambda, top, left, bottom, right];
}

/**
 * Where the figures of a micro-batch lie in the metrics. From `norm` on is what `Optimizer.norm` has: the gradient's norm and
 * the number of its elements that are not finite; with a loss scaler the factor that undid the scale, and the number of those
 * that no smaller scale would mend. `lossScale` is the scale of the next step.
 */
const slots = {
  loss: 0,
  lossLabel: 1,
  lossDistillation: 2,
  correct: 3,
  correctDistillation: 4,
  norm: 5,
  nonFinite: 6,
  nonFiniteUnscaled: 8,
  lossScale: 9,
} as const;
const SLOTS = 10;

/** One forward and backward pass, first or last of an optimizer step: these differ in what they record. */
interface Phase {
  readonly first: boolean;
  readonly last: boolean;
}

/**
 * The training step as recordings: recorded once for each phase of gradient accumulation, replayed ever after. Images,
 * labels, learning rate and step number live in kept tensors that are written before each replay.
 */
export class TrainStep {
  private readonly images: Tensor;
  private readonly labels: Tensor;
  /** Kind, lambda and box of the batch's mixing: see `mixOnGpu`. */
  private readonly mix: Tensor;
  private readonly metrics: Tensor;
  /** Losses of the step under way that are not finite. */
  private readonly halt: Tensor;
  private readonly recordings = new Map<string, Recording>();

  constructor(private readonly options: TrainStepOptions) {
    const { engine, batchSize, imageSize } = options;
    this.images = engine.empty([batchSize, 3, imageSize, imageSize]).keep('input');
    this.labels = engine.empty([batchSize], 'i32').keep('input');
    this.mix = engine.zeros([6]).keep('input');
    this.metrics = engine.zeros([SLOTS]).keep('metrics');
    this.halt = engine.zeros([1]).keep('metrics');
    options.optimizer.halt = { noted: this.halt, forGood: options.nonFinite !== 'skip' };
    if (options.mixing) checkMixBatch(batchSize);
  }

  /** Commands that one optimizer step takes, once it has been recorded. */
  get dispatches(): number {
    return [...this.recordings.values()].reduce((sum, recording) => sum + recording.dispatches, 0);
  }

  /** Runs one optimizer step on `accumulate` micro-batches. The figures arrive when the GPU is done with it. */
  run(batches: readonly Batch[], step: number, lr: number): Promise<StepMetrics> {
    this.options.optimizer.prepareStep(lr);
    const reads = batches.map((batch, micro) => {
      this.writeInputs(batch, step * batches.length + micro);
      this.replay({ first: micro === 0, last: micro === batches.length - 1 });
      return this.metrics.read();
    });
    return Promise.all(reads).then((rows) => this.summarize(rows));
  }

  /**
   * Runs forward and backward of a step once more, without the update, and returns every operator output that held NaN or
   * infinity, in the order of computation. The weights have to be those that the step began with.
   */
  async examine(batches: readonly Batch[], step: number): Promise<NonFiniteOutput[]> {
    const { engine, student, teacher } = this.options;
    for (const [micro, batch] of batches.entries()) {
      this.writeInputs(batch, step * batches.length + micro);
      const record = (): void => void this.forwardBackward(micro === 0);
      const traced = (): void => withModulePaths(engine, student, '', record);
      const found = await findNonFinite(engine, () =>
        teacher ? withModulePaths(engine, teacher, 'teacher', traced) : traced(),
      );
      if (found.length > 0) return found;
    }
    return [];
  }

  release(): void {
    this.options.optimizer.halt = null;
    for (const recording of this.recordings.values()) recording.release();
    for (const tensor of [this.images, this.labels, this.mix, this.metrics, this.halt])
      this.options.engine.free(tensor);
  }

  private replay(phase: Phase): void {
    const { engine, student } = this.options;
    const key = JSON.stringify(phase);
    const recording = this.recordings.get(key);
    if (recording) {
      engine.replay(recording);
      // No layer is called in a replay, so what it counts on the host is counted here.
      trackBatches(student, 1);
    } else
      this.recordings.set(
        key,
        engine.record(() => this.record(phase)),
      );
  }

  private record(phase: Phase): void {
    const { engine, optimizer, ema } = this.options;
    const { losses, output } = this.forwardBackward(phase.first);
    noteNonFiniteLoss(losses.total.detach(), this.halt);
    if (phase.last) {
      optimizer.step();
      ema?.update();
    }
    const zero = engine.zeros([1]);
    const correct = countCorrect(output.cls.detach(), this.labels);
    const imitated = output.dist ? countCorrect(output.dist.detach(), this.labels) : zero;
    const scalars = [losses.total, losses.label, losses.distillation ?? zero, correct, imitated];
    const summary = collect(scalars);
    engine.copy(summary, this.metrics.slot(slots.loss, scalars.length));
    if (phase.last && optimizer.norm) engine.copy(optimizer.norm, this.metrics.slot(slots.norm, optimizer.norm.size));
    if (phase.last && optimizer.scaler) engine.copy(optimizer.scaler.factor, this.metrics.slot(slots.lossScale, 1));
  }

  private forwardBackward(first: boolean) {
    const { engine, student, teacher, optimizer, distillation, smoothing, mixing } = this.options;
    const { labels, mix } = this;
    if (first) optimizer.zeroGrad();
    const images = mixing ? mixOnGpu(this.images, mix) : this.images;
    const target: Target = mixing
      ? { distribution: mixedTargets(labels, mix, { classes: student.classes, smoothing }) }
      : { labels, smoothing };
    // The teacher sees the very tensor that the student sees.
    const teacherLogits = teacher ? engine.noGrad(() => teacher.heads(images).cls) : null;
    const heads = student.heads(images);
    // As facebookresearch/deit: in evaluation mode a model's output is the average of its heads, and that is fine-tuned.
    const isAveraged = distillation.type === 'none' && heads.dist !== null && !student.training;
    const output = isAveraged ? { cls: mul(add(heads.cls, heads.dist), 0.5), dist: null } : heads;
    const losses = distillationLoss(distillation, output, target, teacherLogits);
    const { scaler } = optimizer;
    (scaler ? scaler.scale(losses.total) : losses.total).backward();
    return { losses, output };
  }

  private writeInputs(batch: Batch, position: number): void {
    this.options.engine.setStep(position);
    this.images.write(batch.images);
    this.labels.write(batch.labels);
    this.writeMix(batch);
  }

  private writeMix({ epoch, number }: Batch): void {
    const { engine, mixing, imageSize } = this.options;
    if (!mixing) return;
    const size = { width: imageSize, height: imageSize };
    this.mix.write(mixRow(drawMix(mixing, size, mixStream(engine.seed, epoch, number))));
  }

  private summarize(rows: readonly ArrayLike<number>[]): StepMetrics {
    const { batchSize, distillation, student, optimizer } = this.options;
    const mean = (slot: keyof typeof slots): number =>
      rows.reduce((sum, row) => sum + row[slots[slot]], 0) / rows.length;
    // What the optimizer measures is known after the last micro-batch.
    const last = (slot: keyof typeof slots): number => rows[rows.length - 1][slots[slot]];
    return {
      loss: mean('loss'),
      lossLabel: mean('lossLabel'),
      lossDistillation: distillation.type === 'none' ? null : mean('lossDistillation'),
      accuracy: mean('correct') / batchSize,
      accuracyDistillation: student.distilled ? mean('correctDistillation') / batchSize : null,
      gradNorm: last('norm') / rows.length,
      nonFinite: last(optimizer.scaler ? 'nonFiniteUnscaled' : 'nonFinite'),
      lossScale: optimizer.scaler
        ? { next: last('lossScale'), overflowed: last('nonFinite') > 0 && last('nonFiniteUnscaled') === 0 }
        : null,
    };
  }
}
