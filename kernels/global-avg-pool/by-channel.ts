import { channelLayout, channelMap, channelReduce, planeRows } from '../lib/channels.ts';
import type { ChannelShape } from '../lib/channels.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { f32, input, output } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';

export const forwardByChannel = (shape: ChannelShape, device: DeviceProfile): Launch[] =>
  planeRows(shape, ['x'], ['y'], device, 'global_avg_pool').flatMap(({ rows, ranges }) => {
    const row: ChannelShape = { batch: 1, channels: rows, plane: shape.plane };
    const { along, element, unit, items } = channelLayout(row);
    return channelReduce(
      {
        name: `global_avg_pool.forward/${along}`,
        shape: row,
        parts: [{ batch: 1, firstChunk: 0, chunks: 1, itemsPerChunk: items, ranges }],
        bindings: [input('x', element), output('y', unit)],
        arrays: ['x'],
        sweeps: [{ sums: { total: 'x[i]' } }],
        write: 'y[c] = total / count;',
        flopsPerElement: 1,
      },
      device,
    );
  });

/** With `pending`, a gradient of x that came from elsewhere, dx is the sum of both. */
export function gradientByChannel(
  { pending, ...shape }: ChannelShape & { pending: boolean },
  device: DeviceProfile,
): Launch[] {
  const { along, element, unit } = channelLayout(shape);
  return channelMap(
    {
      name: `global_avg_pool.gradient/${along}${pending ? '_pending' : ''}`,
      shape,
      bindings: [input('dy', unit), ...(pending ? [input('pending', element)] : []), output('dx', element)],
      arrays: pending ? ['dx', 'pending'] : ['dx'],
      rowArrays: ['dy'],
      uniforms: { plane: f32(shape.plane) },
      prepare: `let value = ${element}(dy[row] / params.plane);`,
      body: `dx[i] = ${pending ? 'pending[i] + value' : 'value'};`,
      flopsPerElement: pending ? 1 : 0,
    },
    device,
  );
}
