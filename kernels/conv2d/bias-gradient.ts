import { channelLayout, channelReduce, chunkCount, reduceParts } from '../lib/channels.ts';
import type { ChannelShape } from '../lib/channels.ts';
import { ceilDiv } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { input, launch, output, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';

/** dbias[c] = sum over images and pixels of dy [batch, channels, plane], written: the bias gradient of a convolution. */
export const channelSum: Kernel<ChannelShape> = (shape, device) => {
  const { along, element, unit, units } = channelLayout(shape);
  const split = reduceParts(shape, ['dy'], device, 'channel_sum');
  return [
    ...channelReduce(
      {
        name: `channel_sum/${along}`,
        shape,
        parts: split,
        bindings: [input('dy', element), output('partial', unit)],
        arrays: ['dy'],
        sweeps: [{ sums: { total: 'dy[i]' } }],
        write: 'partial[chunk * params.units + c] = total;',
        flopsPerElement: 1,
      },
      device,
    ),
    launch({
      name: `channel_sum.total/${unit}`,
      bindings: [input('partial', unit), output('dbias', unit)],
      uniforms: { units: u32(units), chunks: u32(chunkCount(split)) },
      wgsl: /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.units) { return; }
  var total = ${unit}();
  for (var chunk = 0u; chunk < params.chunks; chunk++) { total += partial[chunk * params.units + id.x]; }
  dbias[id.x] = total;
}`,
      grid: [ceilDiv(units, 64), 1, 1],
      cost: { flops: units * chunkCount(split), bytes: 4 * shape.channels * chunkCount(split) },
    }),
  ];
};

/** Elements of the tensor `partial` of `channelSum`. */
export const channelSumPartialSize = (shape: ChannelShape, device: DeviceProfile): number =>
  shape.channels * chunkCount(reduceParts(shape, ['dy'], device, 'channel_sum'));
