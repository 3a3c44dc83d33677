import type { DeviceProfile } from '../../lib/device.ts';
import { BLOCK_ELEMENTS } from '../../lib/flat-update.ts';
import { input, output, u32 } from '../../lib/kernel.ts';
import type { Launch } from '../../lib/kernel.ts';
import { perInvocation } from '../../lib/plain.ts';
import type { GradNormProblem } from './problem.ts';

/** Most elements that one invocation sums: of more, rounding errors would add up, and software adapters would take long. */
export const LONGEST_PLAIN = 2 ** 20;

/** One invocation. Each block has a sum of its own: rounding errors grow with the number of additions in a row. */
export const gradNormPlain = ({ n }: GradNormProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'grad_norm/plain',
      bindings: [input('gradients', 'u32'), input('blocks', 'u32'), output('norm')],
      uniforms: { blocks: u32(n / BLOCK_ELEMENTS) },
      count: 1,
      body: /* wgsl */ `
  var total = 0.0;
  var count = 0.0;
  for (var block = 0u; block < params.blocks; block++) {
    var sum = 0.0;
    // Elements past the valid ones are padding.
    for (var e = 0u; e < (blocks[block] & 0xffu); e++) {
      let word = gradients[block * ${BLOCK_ELEMENTS}u + e];
      // All exponent bits are set in NaN and infinity.
      if ((word & 0x7f800000u) == 0x7f800000u) { count += 1.0; }
      else { sum += bitcast<f32>(word) * bitcast<f32>(word); }
    }
    total += sum;
  }
  let overflow = (bitcast<u32>(total) & 0x7f800000u) == 0x7f800000u;
  norm[0] = select(sqrt(total), 3.402823466e38, overflow);
  norm[1] = count + select(0.0, 1.0, overflow);`,
      cost: { flops: 2 * n, bytes: 4 * n },
    },
    device,
  ),
];
