import { sgdHyper, sgdStep } from '../../engine/index.ts';
import type { HyperRow, Tensor, UpdateOptions } from '../../engine/index.ts';
import type { OptimizerParameters } from '../param-groups.ts';
import { Optimizer } from './optimizer.ts';
import type { OptimizerOptions } from './optimizer.ts';

export interface SgdSettings extends OptimizerOptions {
  /** Default 0: no momentum. */
  momentum?: number;
  /** Default 0. */
  dampening?: number;
  /** Default false. */
  nesterov?: boolean;
}

/** PyTorch's SGD: weight decay is added to the gradient. */
export class SGD extends Optimizer {
  private readonly momentum: number;
  private readonly dampening: number;
  private readonly nesterov: boolean;
  private readonly momentumBuffer: Tensor | null;

  constructor(parameters: OptimizerParameters, settings: SgdSettings = {}) {
    super(parameters, settings, 0);
    this.momentum = settings.momentum ?? 0;
    this.dampening = settings.dampening ?? 0;
    this.nesterov = settings.nesterov ?? false;
    this.momentumBuffer = this.momentum > 0 ? this.moment('momentum_buffer') : null;
    this.begin();
  }

  protected override hyperRow(lr: number, weightDecay: number, gradientScale: number): HyperRow {
    return sgdHyper({ lr, weightDecay, dampening: this.dampening, step: this.steps, gradientScale });
  }

  protected override update(options: UpdateOptions): void {
    const { momentum, nesterov, momentumBuffer } = this;
    sgdStep({ ...options, momentum, nesterov, momentumBuffer });
  }
}
