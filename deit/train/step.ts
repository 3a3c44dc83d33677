import {
  add,
  collect,
  countCorrect,
  findNonFinite,
  mixOnGpu,
  mixedTargets,
  mul,
  countNonFiniteLoss,
} from '../../engine/index.ts';
import type { Engine, NonFiniteOutput, Recording, Tensor } from '../../engine/index.ts';
import { trackBatches, withModulePaths } from '../../nn/index.ts';
import type { Ema, Optimizer } from '../../nn/index.ts';
import { checkMixBatch, drawMix, mixStream } from '../data/index.ts';
import type { MixOptions, MixParameters } from '../data/index.ts';
import { weightTarget } from '../class-weights.ts';
import { distillationLoss } from '../distillation.ts';
import type { Distillation, Losses, Target } from '../distillation.ts';
import type { Classifier, Logits } from '../models/classifier.ts';
import { oneProcess } from '../parallel/communicator.ts';
import type { Communicator } from '../parallel/communicator.ts';
import { GradientExchange } from '../parallel/gradient-exchange.ts';
import type { Wire } from '../parallel/gradient-exchange.ts';
import { RunningStatistics } from '../parallel/running-statistics.ts';
import { shareOf } from '../parallel/slices.ts';
import type { Share } from '../parallel/slices.ts';
import { ImageInput } from '../image-input.ts';
import { imagesOf } from './batches.ts';
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
  /** Of each class, in the loss with the labels; null or left out: all alike. */
  readonly classWeights?: readonly number[] | null;
  /** Mixup and cutmix, on the GPU; null for none. */
  readonly mixing: MixOptions | null;
  /** Moving average of the student, updated after each step. */
  readonly ema: Ema | null;
  /** Images in one micro-batch, and micro-batches in one optimizer step, over all ranks. */
  readonly batchSize: number;
  readonly accumulate: number;
  readonly imageSize: number;
  /** After a NaN or infinity in the loss or a gradient: apply no step any more (default), or leave out that one. */
  readonly nonFinite?: 'stop' | 'skip';
  /** Default: one process. */
  readonly parallel?: ParallelOptions;
}

/** The processes that compute a step together, and how their gradients travel. */
export interface ParallelOptions {
  readonly ranks: Communicator;
  /** Bytes of gradients that leave at a time, while the backward pass goes on; Infinity: all at its end. */
  readonly bucketBytes: number;
  readonly wire: Wire;
}

/** What may have to be done after a step: on all ranks, if one of them wants it. */
export interface Wishes {
  /** To end the training. */
  readonly stop: boolean;
  /** To fit the number of steps to the time. */
  readonly fit: boolean;
  /** To tell each other of images that could not be read. */
  readonly tell: boolean;
}

const NO_WISHES: Wishes = { stop: false, fit: false, tell: false };

/** A step that has been begun. */
export interface StepUnderWay {
  /** The figures, when the GPU is done with it. */
  readonly metrics: Promise<StepMetrics>;
  /** What all ranks want after it; to be awaited before the next step. */
  agreed(): Promise<Wishes>;
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

/** One forward and backward pass, first or last of an optimizer step: these differ in what they record. */
interface Phase {
  readonly first: boolean;
  readonly last: boolean;
}

/**
 * Where the figures of a step lie in the metrics. The first ones are sums over its micro-batches. From `norm` on is what
 * `Optimizer.norm` has: the gradient's norm and the number of its elements that are not finite; with a loss scaler the factor
 * that undid the scale, and the number of those that no smaller scale would mend. `lossScale` is the scale of the next step.
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
const SUMS = slots.norm;
const SLOTS = 10;

/**
 * The training step as recordings: recorded once for each phase of gradient accumulation, replayed ever after. Images,
 * labels, learning rate and step number live in kept tensors that are written before each replay. With several ranks each
 * computes its slices, and the gradients are summed between the last of them and the update.
 */
export class TrainStep {
  private readonly input: ImageInput;
  private readonly labels: Tensor;
  /** Kind, lambda and box of the batch's mixing: see `mixOnGpu`. */
  private readonly mix: Tensor;
  private readonly classWeights: Tensor | null;
  private readonly sums: Tensor;
  /** See `slots`. */
  private readonly metrics: Tensor;
  /** Losses of the step under way that are not finite. */
  private readonly guard: Tensor;
  private readonly recordings = new Map<string, Recording>();
  /** Micro-batches of this rank. */
  private readonly share: Share;
  /** Null where there is one rank. */
  private readonly exchange: GradientExchange | null = null;
  private readonly statistics: RunningStatistics | null = null;
  /** Resolves when all that has been begun is submitted. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: TrainStepOptions) {
    const { engine, student, optimizer, batchSize, accumulate, imageSize, parallel } = options;
    this.input = new ImageInput(engine, batchSize, imageSize);
    this.labels = engine.empty([batchSize], 'i32').keep('input');
    this.mix = engine.zeros([6]).keep('input');
    const { classWeights } = options;
    this.classWeights = classWeights ? engine.tensor(classWeights, [classWeights.length]).keep('input') : null;
    this.sums = engine.zeros([SUMS]).keep('metrics');
    this.metrics = engine.zeros([SLOTS]).keep('metrics');
    this.guard = engine.zeros([1]).keep('metrics');
    optimizer.guard = { count: this.guard, permanent: options.nonFinite !== 'skip' };
    if (options.mixing) checkMixBatch(batchSize);
    const { ranks } = parallel ?? { ranks: oneProcess };
    this.share = shareOf(ranks, accumulate);
    if (!parallel || ranks.size === 1) return;
    this.exchange = new GradientExchange({ ...parallel, optimizer, numbers: 3 });
    this.statistics = RunningStatistics.of(engine, student, this.share);
  }

  /** Commands that one optimizer step takes, once it has been recorded. */
  get dispatches(): number {
    return [...this.recordings.values()].reduce((sum, recording) => sum + recording.dispatches, 0);
  }

  /** Seconds that copies to and from the memory of the network's transfers took so far. */
  get copySeconds(): number {
    return this.exchange?.copying ?? 0;
  }

  /** Runs step number `step` (from 0) on this rank's micro-batches of it. The figures arrive when the GPU is done with it. */
  run(batches: readonly Batch[], step: number, lr: number): Promise<StepMetrics> {
    return this.begin(batches, step, lr).metrics;
  }

  /** The same, and what is to be done afterwards. `wishes` is asked as late as possible. */
  begin(batches: readonly Batch[], step: number, lr: number, wishes = (): Wishes => NO_WISHES): StepUnderWay {
    const { exchange } = this;
    if (!exchange) {
      this.submitSlices(batches, step, lr);
      return { metrics: this.readMetrics(), agreed: () => Promise.resolve(wishes()) };
    }
    // The update of the step before is submitted when its gradients have been summed.
    const submitted = this.turn.then(async () => {
      this.submitSlices(batches, step, lr);
      const [stop, fit, tell] = await exchange.sum(() => {
        const wished = wishes();
        return [Number(wished.stop), Number(wished.fit), Number(wished.tell)];
      });
      this.replay('update', () => this.recordUpdate());
      // What other ranks showed its batch norms.
      trackBatches(this.options.student, this.share.of - this.share.count);
      return { metrics: this.readMetrics(), agreed: { stop: stop > 0, fit: fit > 0, tell: tell > 0 } };
    });
    this.turn = submitted;
    const metrics = submitted.then((begun) => begun.metrics);
    // An error is thrown where the promise is awaited.
    metrics.catch(() => undefined);
    return {
      metrics,
      agreed: () => submitted.then(({ agreed }) => agreed),
    };
  }

  private submitSlices(batches: readonly Batch[], step: number, lr: number): void {
    this.options.optimizer.prepareStep(lr);
    for (const [micro, batch] of batches.entries()) {
      this.writeInputs(batch, step, micro);
      const phase = { first: micro === 0, last: micro === batches.length - 1 };
      const isRecorded = this.replay(JSON.stringify(phase), () => this.record(phase));
      // No layer is called in a replay, so what it counts on the host is counted here.
      if (isRecorded) trackBatches(this.options.student, 1);
    }
  }

  /**
   * Runs forward and backward of a step once more, without the update, and returns every operator output that contained NaN or
   * infinity, in the order of computation. The weights have to be those that the step began with.
   */
  async examine(batches: readonly Batch[], step: number): Promise<NonFiniteOutput[]> {
    const { engine, student, teacher } = this.options;
    for (const [micro, batch] of batches.entries()) {
      this.writeInputs(batch, step, micro);
      const record = (): void => this.scaled(this.forward(micro === 0).losses.total).backward();
      const traced = (): void => withModulePaths(engine, student, '', record);
      const found = await findNonFinite(engine, () =>
        teacher ? withModulePaths(engine, teacher, 'teacher', traced) : traced(),
      );
      if (found.length > 0) return found;
    }
    return [];
  }

  release(): void {
    this.options.optimizer.guard = null;
    for (const recording of this.recordings.values()) recording.release();
    const { labels, mix, classWeights, sums, metrics, guard } = this;
    this.input.release();
    for (const tensor of [labels, mix, classWeights, sums, metrics, guard])
      if (tensor) this.options.engine.free(tensor);
    this.exchange?.free();
    this.statistics?.free();
  }

  /** Runs a recording, and makes it where there is none yet. Returns whether there was one. */
  private replay(name: string, record: () => void): boolean {
    const { engine } = this.options;
    const recording = this.recordings.get(name);
    if (recording) engine.replay(recording);
    else this.recordings.set(name, engine.record(record));
    return recording !== undefined;
  }

  private record({ first, last }: Phase): void {
    const { exchange } = this;
    if (first) this.statistics?.begin();
    const { losses, output } = this.forward(first);
    this.recordFigures(losses, output, first);
    const loss = this.scaled(losses.total);
    if (exchange && last) {
      this.statistics?.leave();
      exchange.leave([this.sums, this.guard, ...(this.statistics ? [this.statistics.share] : [])]);
      loss.backward(undefined, (leaf) => exchange.leaf(leaf));
      exchange.leaveRest();
    } else loss.backward();
    if (!exchange && last) this.recordUpdate();
  }

  private recordUpdate(): void {
    const { engine, optimizer, ema } = this.options;
    const { metrics, sums, exchange, statistics } = this;
    exchange?.arrive();
    statistics?.arrive();
    optimizer.step();
    ema?.update();
    engine.copy(sums, metrics.slot(slots.loss, SUMS));
    if (optimizer.norm) engine.copy(optimizer.norm, metrics.slot(slots.norm, optimizer.norm.size));
    if (optimizer.scaler) engine.copy(optimizer.scaler.factor, metrics.slot(slots.lossScale, 1));
  }

  /** Adds the losses and the images that are right to the sums of the step. */
  private recordFigures(losses: Losses, output: Logits, first: boolean): void {
    const { engine } = this.options;
    const { labels, sums, guard } = this;
    countNonFiniteLoss(losses.total.detach(), guard);
    const zero = engine.zeros([1]);
    const correct = countCorrect(output.cls.detach(), labels);
    const imitated = output.dist ? countCorrect(output.dist.detach(), labels) : zero;
    const figures = collect([losses.total, losses.label, losses.distillation ?? zero, correct, imitated]);
    engine.copy(first ? figures : add(sums, figures), sums);
  }

  private scaled(loss: Tensor): Tensor {
    return this.options.optimizer.scaler?.scale(loss) ?? loss;
  }

  private forward(first: boolean) {
    const { engine, student, teacher, optimizer, distillation, smoothing, mixing } = this.options;
    const { labels, mix, classWeights } = this;
    if (first) optimizer.zeroGrad();
    const images = mixing ? mixOnGpu(this.input.images, mix) : this.input.images;
    const plain: Target = mixing
      ? { distribution: mixedTargets(labels, mix, { classes: student.classes, smoothing }) }
      : { labels, smoothing };
    const target = classWeights ? weightTarget(plain, classWeights) : plain;
    // The teacher sees the very tensor that the student sees.
    const teacherLogits = teacher ? engine.noGrad(() => teacher.heads(images).cls) : null;
    const heads = student.heads(images);
    // As facebookresearch/deit: in evaluation mode a model's output is the average of its heads, and that is fine-tuned.
    const isAveraged = distillation.type === 'none' && heads.dist !== null && !student.training;
    const output = isAveraged ? { cls: mul(add(heads.cls, heads.dist), 0.5), dist: null } : heads;
    const losses = distillationLoss(distillation, output, target, teacherLogits);
    return { losses, output };
  }

  /** `micro` counts this rank's micro-batches of the step. Random draws go by the place among those of all ranks. */
  private writeInputs(batch: Batch, step: number, micro: number): void {
    this.options.engine.setStep(step * this.share.of + this.share.first + micro);
    this.input.write(imagesOf(batch));
    this.labels.write(batch.labels);
    this.writeMix(batch);
  }

  private writeMix({ epoch, number }: Batch): void {
    const { engine, mixing, imageSize } = this.options;
    if (!mixing) return;
    const size = { width: imageSize, height: imageSize };
    this.mix.write(mixRow(drawMix(mixing, size, mixStream(engine.seed, epoch, number))));
  }

  private async readMetrics(): Promise<StepMetrics> {
    const { batchSize, accumulate, distillation, student, optimizer } = this.options;
    const values = await this.metrics.read();
    const at = (slot: keyof typeof slots): number => values[slots[slot]];
    const mean = (slot: keyof typeof slots): number => at(slot) / accumulate;
    return {
      loss: mean('loss'),
      lossLabel: mean('lossLabel'),
      lossDistillation: distillation.type === 'none' ? null : mean('lossDistillation'),
      accuracy: mean('correct') / batchSize,
      accuracyDistillation: student.distilled ? mean('correctDistillation') / batchSize : null,
      gradNorm: mean('norm'),
      nonFinite: at(optimizer.scaler ? 'nonFiniteUnscaled' : 'nonFinite'),
      lossScale: optimizer.scaler
        ? { next: at('lossScale'), overflowed: at('nonFinite') > 0 && at('nonFiniteUnscaled') === 0 }
        : null,
    };
  }
}
