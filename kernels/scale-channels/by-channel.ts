import { channelLayout, channelMap, channelReduce, planeRows } from '../lib/channels.ts';
import type { ChannelShape } from '../lib/channels.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { input, output } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';

export function forwardByChannel(shape: ChannelShape, device: DeviceProfile): Launch[] {
  const { along, element, unit } = channelLayout(shape);
  return channelMap(
    {
      name: `scale_channels.forward/${along}`,
      shape,
      bindings: [input('x', element), input('gate', unit), output('y', element)],
      arrays: ['x', 'y'],
      rowArrays: ['gate'],
      prepare: 'let factor = gate[row];',
      body: 'y[i] = x[i] * factor;',
      flopsPerElement: 1,
    },
    device,
  );
}

export const gradientByChannel = (shape: ChannelShape, device: DeviceProfile): Launch[] =>
  planeRows(shape, ['x', 'dy', 'dx'], ['gate', 'dgate'], device, 'scale_channels').flatMap(({ rows, ranges }) => {
    const row: ChannelShape = { ...shape, batch: 1, channels: rows };
    const { along, element, unit, items } = channelLayout(row);
    return channelReduce(
      {
        name: `scale_channels.gradient/${along}`,
        shape: row,
        parts: [{ batch: 1, firstChunk: 0, chunks: 1, itemsPerChunk: items, ranges }],
        bindings: [
          input('x', element),
          input('gate', unit),
          input('dy', element),
          output('dx', element),
          output('dgate', unit),
        ],
        arrays: ['x', 'dy', 'dx'],
        prepare: 'let factor = gate[c];',
        sweeps: [{ body: 'let d = dy[i]; dx[i] = d * factor;', sums: { total: 'd * x[i]' } }],
        write: 'dgate[c] = total;',
        flopsPerElement: 3,
      },
      device,
    );
  });
