import { channelLayout, channelReduce, chunkCount, reduceParts } from '../lib/channels.ts';
import type { ChannelShape } from '../lib/channels.ts';
import { ceilDiv } from '../lib/device.ts';
import { bind, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';

/** dbias[c] = sum over images and pixels of dy [batch, channels, plane], written: the bias gradient of a convolution. */
export const channelSum: Kernel<ChannelShape> = (shape, device) => {
  const { along, element, unit, units } = channelLayout(shape);
  const split = reduceParts(shape, ['dy'], device, 'channel_sum');
  const chunks = chunkCount(split);
  const partials = channelReduce(
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
  );
  return [
    ...bind(partials, {}, { partial: { elements: shape.channels * chunks } }),
    launch({
      name: `channel_sum.total/${unit}`,
      bindings: [input('partial', unit), output('dbias', unit)],
      uniforms: { units: u32(units), chunks: u32(chunks) },
      wgsl: /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.units) { return; }
  var total = ${unit}();
  for (var chunk = 0u; chunk < params.chunks; chunk++) { total += partial[chunk * params.units + id.x]; }
  dbias[id.x] = total;
}`,
      grid: [ceilDiv(units, 64), 1, 1],
      cost: { flops: units * chunks, bytes: 4 * shape.channels * chunks },
    }),
  ];
};
