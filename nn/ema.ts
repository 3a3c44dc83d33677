import { DeitError, Tensor, emaStep } from '../engine/index.ts';
import type { TensorEngine } from '../engine/index.ts';
import type { Module } from './module.ts';
import type { Optimizer } from './optim/optimizer.ts';
import { writeState } from './state.ts';
import type { LoadReport, StateValue } from './state.ts';
import { unpack } from './unpack.ts';

/** A run of memory that is averaged by one dispatch, and what lies in it. */
interface Part {
  readonly live: Tensor;
  readonly average: Tensor;
  readonly tensors: readonly (readonly [string, Tensor])[];
}

/**
 * Exponential moving average of a model's whole state, running statistics included (timm's ModelEmaV2):
 * average <- decay * average + (1 - decay) * live after each step. Starts as a copy of the live state.
 */
export class Ema {
  private readonly engine: TensorEngine;
  private readonly parts: Part[] = [];

  /** `optimizer` trains the model: its flat buffer is averaged in one go, and so is all other state. */
  constructor(
    module: Module,
    optimizer: Optimizer,
    readonly decay: number,
  ) {
    if (!(decay >= 0 && decay <= 1)) {
      throw new DeitError('bad-argument', 'A decay lies between 0 and 1.', { where: 'Ema', found: String(decay) });
    }
    this.engine = optimizer.engine;
    this.add(optimizer.flat, optimizer.parameters);
    const trained = new Set(optimizer.parameters.map(([, parameter]) => parameter));
    const rest = [...module.stateDict()].filter(([, tensor]) => !trained.has(tensor));
    if (rest.length > 0) {
      const tensors = rest.map(([, tensor]) => tensor);
      this.add(this.engine.pack(tensors, 'buffer'), rest);
    }
  }

  private add(live: Tensor, tensors: Part['tensors']): void {
    const average = this.engine.empty(live.shape).keep('ema');
    this.engine.copy(live, average);
    this.parts.push({ live, average, tensors });
  }

  /** Takes in the state after a step. May be recorded. */
  update(): void {
    for (const { live, average } of this.parts) emaStep({ average, values: live, decay: this.decay });
  }

  /** The averages under the names of the state dict. */
  stateDict(): Map<string, Tensor> {
    const slots = this.parts.flatMap(({ live, average, tensors }) =>
      tensors.map(([name, { shape, offset }]): [string, Tensor] => [
        name,
        new Tensor(this.engine, average.storage, shape, 'f32', average.offset + offset - live.offset),
      ]),
    );
    return new Map(slots);
  }

  /** Takes up saved averages. Throws `state-mismatch` with everything that does not fit. */
  loadStateDict(given: ReadonlyMap<string, StateValue>): LoadReport {
    return writeState(this.stateDict(), given);
  }

  /** Runs `work` while the model has the averages for its state, and puts the live state back afterwards. */
  async withAverages<Result>(work: () => Promise<Result>): Promise<Result> {
    this.exchange();
    try {
      return await work();
    } finally {
      this.exchange();
    }
  }

  private exchange(): void {
    this.engine.scope(() => {
      for (const { live, average } of this.parts) {
        const copy = this.engine.empty(live.shape);
        this.engine.copy(live, copy);
        this.engine.copy(average, live);
        this.engine.copy(copy, average);
      }
    });
  }

  /** Gives back the memory of the averages. The model's own state stays. */
  free(): void {
    for (const { average } of this.parts) this.engine.free(average);
    const [, rest] = this.parts;
    if (rest) {
      unpack(
        rest.live,
        rest.tensors.map(([, tensor]) => tensor),
      );
    }
  }
}
