import { DeitError, mul, updateLossScale } from '../../engine/index.ts';
import type { TensorEngine, LossScale, Tensor } from '../../engine/index.ts';
import { writeState } from '../state.ts';
import type { LoadReport, StateValue } from '../state.ts';

export interface GradScalerSettings {
  /** Default 65536. */
  initScale?: number;
  /** What the scale is multiplied by after `growthInterval` good steps. Default 2. */
  growthFactor?: number;
  /** What the scale is multiplied by after a step whose gradient was not finite. Default 0.5. */
  backoffFactor?: number;
  /** Default 2000. */
  growthInterval?: number;
}

/**
 * Dynamic loss scaling for training under `autocast`, by the rule of `torch.amp.GradScaler`: gradients that are small in f16
 * are lifted above its least number by a factor on the loss, as large as keeps them finite. Everything happens on the GPU,
 * so that a recorded step can be replayed: the optimizer that is given a scaler divides gradients by the scale, leaves out a
 * step in which one is not finite, and adapts the scale.
 *
 *     const scaler = new GradScaler(engine);
 *     const optimizer = new AdamW(groups, { scaler });
 *     scaler.scale(loss).backward();
 *     optimizer.step();
 */
export class GradScaler {
  private readonly state: LossScale;
  private readonly settings: Required<GradScalerSettings>;

  constructor(
    readonly engine: TensorEngine,
    settings: GradScalerSettings = {},
  ) {
    this.settings = { initScale: 65536, growthFactor: 2, backoffFactor: 0.5, growthInterval: 2000, ...settings };
    const { initScale } = this.settings;
    if (!(initScale > 0 && initScale < 2 ** 127)) {
      throw new DeitError('bad-argument', 'A loss scale is a positive number.', {
        where: 'GradScaler, initScale',
        found: String(initScale),
      });
    }
    const single = (value: number): Tensor => engine.full([], value).keep('optimizer');
    this.state = { scale: single(initScale), tracker: single(0), skipped: single(0) };
  }

  /** The factor as it stands when the work recorded so far is done, f32 []. */
  get factor(): Tensor {
    return this.state.scale;
  }

  /** Steps left out so far, f32 []. */
  get skipped(): Tensor {
    return this.state.skipped;
  }

  /** The loss times the factor: what to call backward() on. */
  scale(loss: Tensor): Tensor {
    return mul(loss, this.factor);
  }

  /** @internal For optimizers: see `updateLossScale`. */
  update(norm: Tensor, guard: { readonly count: Tensor; readonly permanent: boolean } | null): void {
    const { growthFactor: growth, backoffFactor: backoff, growthInterval: interval } = this.settings;
    updateLossScale(norm, this.state, { growth, backoff, interval }, guard);
  }

  /** scale, growth_tracker and skipped. */
  stateDict(): Map<string, Tensor> {
    const { scale, tracker, skipped } = this.state;
    return new Map([
      ['scale', scale],
      ['growth_tracker', tracker],
      ['skipped', skipped],
    ]);
  }

  /** Takes up a saved state. Throws `state-mismatch` with everything that does not fit. */
  loadStateDict(given: ReadonlyMap<string, StateValue>): LoadReport {
    return writeState(this.stateDict(), given);
  }

  free(): void {
    for (const tensor of this.stateDict().values()) this.engine.free(tensor);
  }
}
