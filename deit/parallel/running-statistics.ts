import { add, mul, sub } from '../../engine/index.ts';
import type { Engine, Tensor } from '../../engine/index.ts';
import { BatchNorm2d } from '../../nn/index.ts';
import type { Module } from '../../nn/index.ts';
import type { Share } from './slices.ts';

/**
 * Running statistics of batch norms, as one process has them that sees all slices of a step in order: with momentum m, a
 * slice's statistics b move them to (1 - m) r + m b. That is linear, so the ranks' shares add up:
 *
 *     r' = (1 - m)^S r + sum over ranks of (1 - m)^(slices after this rank's) (r_rank - (1 - m)^A r)
 *
 * where r_rank is what the A slices of a rank make of r. timm averages the ranks' own statistics instead, now and then.
 */
export class RunningStatistics {
  /** This rank's term of the sum, and after the exchange the sum. */
  readonly share: Tensor;
  private readonly before: Tensor;
  private readonly engine: Engine;
  private readonly buffers: readonly Tensor[];
  /** By element: (1 - m)^A, (1 - m)^(slices after this rank's), (1 - m)^S. */
  private readonly own: Tensor;
  private readonly after: Tensor;
  private readonly all: Tensor;

  private constructor(engine: Engine, layers: readonly BatchNorm2d[], share: Share) {
    this.engine = engine;
    this.buffers = layers.flatMap(({ runningMean, runningVar }) => [runningMean, runningVar]);
    const powers = (slices: number): Tensor => {
      const values = layers.flatMap(({ channels, momentum }) =>
        new Array<number>(2 * channels).fill((1 - momentum) ** slices),
      );
      return engine.tensor(values).keep('buffer');
    };
    this.own = powers(share.count);
    this.after = powers(share.of - share.first - share.count);
    this.all = powers(share.of);
    this.before = engine.zeros(this.own.shape).keep('buffer');
    this.share = engine.zeros(this.own.shape).keep('buffer');
  }

  /** Of what moves its statistics in `model`; null where nothing does. */
  static of(engine: Engine, model: Module, share: Share): RunningStatistics | null {
    const layers = [...model.namedModules()].map(([, module]) => module);
    const moving = layers.filter((module) => module instanceof BatchNorm2d && module.training) as BatchNorm2d[];
    return moving.length === 0 ? null : new RunningStatistics(engine, moving, share);
  }

  /** Recorded before the first slice. */
  begin(): void {
    this.gather(this.before);
  }

  /** Recorded after the last slice of this rank. */
  leave(): void {
    const { engine, own, after, before, share } = this;
    engine.noGrad(() => {
      const now = engine.empty(share.shape);
      this.gather(now);
      engine.copy(mul(sub(now, mul(before, own)), after), share);
    });
  }

  /** Recorded when `share` holds the sum over all ranks. */
  arrive(): void {
    const { engine, all, before, share } = this;
    engine.noGrad(() => {
      const statistics = add(mul(before, all), share);
      this.each(statistics, (slot, buffer) => engine.copy(slot, buffer));
    });
  }

  private gather(flat: Tensor): void {
    this.each(flat, (slot, buffer) => this.engine.copy(buffer, slot));
  }

  private each(flat: Tensor, visit: (slot: Tensor, buffer: Tensor) => void): void {
    let first = 0;
    for (const buffer of this.buffers) {
      visit(flat.slot(first, buffer.size), buffer);
      first += buffer.size;
    }
  }

  free(): void {
    for (const tensor of [this.own, this.after, this.all, this.before, this.share]) this.engine.free(tensor);
  }
}
