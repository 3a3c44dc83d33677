import { adamWHyper, adamWStep, discountSkipped } from '../../engine/index.ts';
import type { HyperRow, Tensor, UpdateOptions } from '../../engine/index.ts';
import type { OptimizerParameters } from '../param-groups.ts';
import { Optimizer } from './optimizer.ts';
import type { OptimizerOptions } from './optimizer.ts';

export interface AdamWSettings extends OptimizerOptions {
  /** Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Default 1e-8. */
  eps?: number;
}

/** PyTorch's AdamW: Adam with decoupled weight decay. */
export class AdamW extends Optimizer {
  private readonly m: Tensor;
  private readonly v: Tensor;
  private readonly beta1: number;
  private readonly beta2: number;
  private readonly eps: number;

  constructor(parameters: OptimizerParameters, settings: AdamWSettings = {}) {
    super(parameters, settings, 0.01);
    [this.beta1, this.beta2] = settings.betas ?? [0.9, 0.999];
    this.eps = settings.eps ?? 1e-8;
    this.m = this.moment('exp_avg');
    this.v = this.moment('exp_avg_sq');
    this.begin();
  }

  protected override hyperRow(lr: number, weightDecay: number, gradientScale: number): HyperRow {
    const { steps: step, beta1, beta2 } = this;
    return adamWHyper({ lr, weightDecay, step, beta1, beta2, gradientScale });
  }

  protected override discount(skipped: Tensor): void {
    discountSkipped(this.hyper, skipped, this.beta1, this.beta2);
  }

  protected override update(options: UpdateOptions): void {
    const { m, v, beta1, beta2, eps } = this;
    adamWStep({ ...options, m, v, beta1, beta2, eps });
  }
}
