import {
  DeitError,
  Tensor,
  blockTable,
  flatGradients,
  gradNorm,
  skipNonFiniteStep,
  shareF16Copies,
  unshareF16Copies,
} from '../../engine/index.ts';
import type { TensorEngine, HyperRow, UpdateOptions } from '../../engine/index.ts';
import { resolveGroups } from '../param-groups.ts';
import type { OptimizerParameters, ResolvedGroup } from '../param-groups.ts';
import { writeState } from '../state.ts';
import type { LoadReport, StateValue } from '../state.ts';
import { unpack } from '../unpack.ts';
import type { GradScaler } from './grad-scaler.ts';

export interface OptimizerOptions {
  /** Learning rate of steps for which `prepareStep` is given none. Default 1e-3, as in PyTorch. */
  lr?: number;
  /** Of groups that name none. Default as in PyTorch: 0.01 for AdamW, 0 for SGD. */
  weightDecay?: number;
  /** Gradients are scaled down to this global L2 norm where they exceed it. Default null: no clipping. */
  maxNorm?: number | null;
  /** Leave everything as it is in a step with a NaN or infinite gradient element. Always so when clipping. Default false. */
  skipNonFinite?: boolean;
  /** Multiplies every gradient, for example 1 / (number of micro-batches). Default 1. */
  gradientScale?: number;
  /** The gradients are those of a loss that this scaled, for training under `autocast`; implies `skipNonFinite`. */
  scaler?: GradScaler | null;
}

/**
 * What optimizers share. The parameters move into one flat buffer, their gradients are written by backward into
 * another of the same layout, and a step is one dispatch over both (three more with clipping).
 *
 *     optimizer.prepareStep(lr);   // where the learning rate changes from step to step
 *     optimizer.zeroGrad();        // may be recorded, with all that follows
 *     loss.backward();             // several times to accumulate gradients
 *     optimizer.step();
 *
 * A step may be recorded once and replayed: what varies comes from a small tensor that `prepareStep` rewrites, which then has to
 * be called before each replay.
 */
export abstract class Optimizer {
  /** Steps prepared so far. */
  steps = 0;
  readonly engine: TensorEngine;
  /** All parameters, flat. */
  readonly flat: Tensor;
  /** Divides gradients by the loss scale, and adapts that; null without. */
  readonly scaler: GradScaler | null;
  /**
   * [norm of all gradients, number of non-finite elements] of the last step; null if nothing asks for it. With a scaler two
   * more: see kernels/optimizer/grad-scaler.
   */
  readonly norm: Tensor | null;
  /** f32 [1]: what else keeps the next step from being applied, and whether that holds for all later ones: see `skipNonFiniteStep`. */
  guard: { readonly count: Tensor; readonly permanent: boolean } | null = null;
  /** Parameters in the order in which they lie in `flat`. */
  readonly parameters: readonly (readonly [string, Tensor])[];
  /** All gradients, in the same layout as `flat`. */
  readonly gradients: Tensor;
  private readonly blocks: Tensor;
  protected readonly hyper: Tensor;
  private readonly lr: number;
  private readonly maxNorm: number;
  private readonly gradientScale: number;
  private readonly moments = new Map<string, Tensor>();
  private readonly f16Tables: readonly Tensor[];
  private readonly groups: readonly ResolvedGroup[];
  /** Whether what `step` reads has been written for the step to come. */
  private isPrepared = false;

  constructor(given: OptimizerParameters, options: OptimizerOptions, defaultDecay: number) {
    const { lr = 1e-3, maxNorm = null, skipNonFinite = false, gradientScale = 1, scaler = null } = options;
    const groups = resolveGroups(given, options.weightDecay ?? defaultDecay);
    this.groups = groups;
    const groupOf: number[] = [];
    this.parameters = groups.flatMap(({ parameters }, group) => {
      for (let i = 0; i < parameters.length; i++) groupOf.push(group);
      return parameters;
    });
    const tensors = this.parameters.map(([, parameter]) => parameter);
    if (tensors.length === 0) {
      throw new DeitError('bad-argument', 'An optimizer needs parameters.', {
        found: given.length === 0 ? 'an empty list' : 'only frozen ones',
        fix: 'give it model.parameters() of a model that has layers, not all of them frozen',
      });
    }
    const taken = this.parameters.filter(([, { gradHome }]) => gradHome).map(([name]) => name);
    if (taken.length > 0) {
      throw new DeitError('bad-argument', 'Parameters belong to another optimizer already.', {
        where: taken.join(', '),
        fix: 'free() that one first',
      });
    }
    this.engine = tensors[0].engine;
    this.flat = this.engine.pack(tensors, 'parameter');
    this.gradients = flatGradients(tensors, this.flat);
    this.blocks = blockTable(this.engine, tensors, (index) => groupOf[index]).keep('optimizer');
    // With a scaler, a last row that begins with the number of the step.
    this.hyper = this.engine.zeros([groups.length + (scaler ? 1 : 0), 4]).keep('optimizer');
    this.scaler = scaler;
    const isMeasured = maxNorm !== null || skipNonFinite || scaler;
    this.norm = isMeasured ? this.engine.zeros([scaler ? 4 : 2]).keep('optimizer') : null;
    this.f16Tables = scaler ? shareF16Copies(tensors, this.flat) : [];
    // The norm is measured before the scale is applied.
    this.maxNorm = (maxNorm ?? 0) / gradientScale;
    this.gradientScale = gradientScale;
    this.lr = lr;
  }

  /** Called when the optimizer is complete: a recorded step without `prepareStep` is a first one, at the rate given to the optimizer. */
  protected begin(): void {
    this.steps = 1;
    this.writeHyper(this.lr);
    this.steps = 0;
  }

  /**
   * Sets the learning rate and the step number of the step to come; `step` does so itself where nobody has. Called outside of a
   * recorded step.
   */
  prepareStep(lr = this.lr): void {
    this.count(true);
    this.writeHyper(lr);
  }

  /** A step begins, by the host's count, which is taken back if the scope under way fails. */
  private count(isPrepared: boolean): void {
    const { steps, isPrepared: before } = this;
    this.engine.undoIfFailed(() => Object.assign(this, { steps, isPrepared: before }));
    this.steps++;
    this.isPrepared = isPrepared;
  }

  /** Sees to it that the numbers that `step` reads are those of this step. */
  private prepareIfNeeded(): void {
    const { isPrepared, engine } = this;
    if (!isPrepared && !engine.isRecording) this.prepareStep();
    else if (!isPrepared && this.steps === 0) this.count(false);
    else if (!isPrepared) {
      throw new DeitError('bad-argument', 'A step is recorded for which nothing was prepared.', {
        where: `${this.constructor.name}.step`,
        fix: 'call prepareStep() before engine.record() and before each engine.replay()',
      });
    }
    engine.undoIfFailed(() => (this.isPrepared = isPrepared));
    this.isPrepared = false;
  }

  private writeHyper(lr: number): void {
    const rows = this.groups.map(({ weightDecay, lrScale }) =>
      this.hyperRow(lr * lrScale, weightDecay, this.gradientScale),
    );
    this.hyper.write(this.scaler ? [...rows.flat(), this.steps, 0, 0, 0] : rows.flat());
  }

  /** Forgets the gradients, so that the next backward pass overwrites them. */
  zeroGrad(): void {
    for (const [, parameter] of this.parameters) parameter.grad = null;
  }

  /** Updates all parameters from their gradients. */
  step(): void {
    const without = this.parameters.filter(([, { grad }]) => !grad).map(([name]) => name);
    if (without.length > 0) {
      throw new DeitError('no-gradient', 'Parameters have no gradient: nothing that led to the loss used them.', {
        where: without.join(', '),
        fix: 'call backward() before step(), and freeze with requiresGrad_(false), before the optimizer is made, what is not to be trained',
      });
    }
    this.prepareIfNeeded();
    const { flat, gradients, blocks, hyper, norm, guard, maxNorm, scaler } = this;
    if (norm) gradNorm({ gradients, blocks, out: norm });
    if (norm && scaler) {
      scaler.update(norm, guard);
      this.discount(scaler.skipped);
    } else if (norm && guard) skipNonFiniteStep(norm, guard.count, guard.permanent);
    this.update({ parameters: flat, gradients, blocks, hyper, norm, maxNorm: norm ? maxNorm : 0 });
  }

  protected abstract hyperRow(lr: number, weightDecay: number, gradientScale: number): HyperRow;
  protected abstract update(options: UpdateOptions): void;

  /** Takes the steps that a scaler left out, of all counted so far, out of what `prepareStep` wrote. Nothing to be done by default. */
  protected discount(_skipped: Tensor): void {
    return;
  }

  /** A flat buffer of zeros of the same layout, saved in the state under `name`. */
  protected moment(name: string): Tensor {
    const moment = this.engine.zeros(this.flat.shape).keep('optimizer');
    this.moments.set(name, moment);
    return moment;
  }

  /** The place of each parameter in a flat buffer of the same layout, by name. */
  slots(flat: Tensor): Map<string, Tensor> {
    return new Map(
      this.parameters.map(([name, { shape, offset }]) => [
        name,
        new Tensor(this.engine, flat.storage, shape, 'f32', flat.offset + offset - this.flat.offset),
      ]),
    );
  }

  /** The moments of every parameter under PyTorch's names: `exp_avg.blocks.0.attn.qkv.weight` and so on. */
  stateDict(): Map<string, Tensor> {
    const named = [...this.moments].flatMap(([moment, flat]) =>
      [...this.slots(flat)].map(([name, slot]): [string, Tensor] => [`${moment}.${name}`, slot]),
    );
    return new Map(named);
  }

  /** Takes up moments and the number of steps done. Throws `state-mismatch` with everything that does not fit. */
  loadStateDict(given: ReadonlyMap<string, StateValue>, steps: number): LoadReport {
    const report = writeState(this.stateDict(), given);
    this.steps = steps;
    return report;
  }

  /** Gives back the memory of gradients and moments, and of the scaler's state. The parameters stay, in memory of their own. */
  free(): void {
    const parameters = this.parameters.map(([, parameter]) => parameter);
    for (const parameter of parameters) parameter.grad = parameter.gradHome = null;
    unshareF16Copies(parameters);
    unpack(this.flat, parameters);
    const tensors = [this.gradients, this.blocks, this.hyper, this.norm, ...this.moments.values(), ...this.f16Tables];
    for (const tensor of tensors) if (tensor) this.engine.free(tensor);
    this.scaler?.free();
  }
}
