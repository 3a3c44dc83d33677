import { ema } from '../../../kernels/optimizer/ema/index.ts';
import type { Tensor } from '../../tensor.ts';
import { formatShape } from '../../tensor-shape.ts';
import { misfit } from './update.ts';

/** average <- decay * average + (1 - decay) * values, in place. Tensors of equal size, flat or not. timm's `ModelEmaV2`. */
export function emaStep(options: { average: Tensor; values: Tensor; decay: number }): void {
  const { average, values, decay } = options;
  if (average.size !== values.size) {
    throw misfit('emaStep', 'values', formatShape(average.shape), formatShape(values.shape));
  }
  average.engine.run('emaStep', ema, { n: average.size, decay }, { average, values });
}
