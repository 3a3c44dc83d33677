import { channelLayout, channelMap, channelReduce } from '../lib/channels.ts';
import type { ChannelShape } from '../lib/channels.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { bytesOfElement } from '../lib/f16-storage.ts';
import { f32, input, output, splitRows } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';

/**
 * Global average pooling: y[b, c] = sum over the plane of x[b, c, :] / plane, and its gradient dx[b, c, p] =
 * dy[b, c] / plane, written. Nothing is saved. Also the gate of squeeze-and-excitation (Hu et al. 2018):
 * y[b, c, p] = x[b, c, p] * gate[b, c] with dx = dy * gate and dgate[b, c] = sum over the plane of dy * x; saved: x, gate.
 *
 * An image and channel is a row; rows are what the reductions of lib/channels.ts call channels, for a batch of one.
 */
export const globalAvgPoolForward: Kernel<ChannelShape> = (shape, device) =>
  rowsOf(shape, ['x'], ['y'], device, 'global_avg_pool').flatMap(({ rows, ranges }) => {
    const row: ChannelShape = { batch: 1, channels: rows, plane: shape.plane };
    const { along, element, unit, items } = channelLayout(row);
    return channelReduce(
      {
        name: `global_avg_pool.forward/${along}`,
        shape: row,
        parts: [{ batch: 1, firstChunk: 0, chunks: 1, itemsPerChunk: items, ranges }],
        bindings: [input('x', element), output('y', unit)],
        sweeps: [{ sums: { total: 'x[i]' } }],
        write: 'y[c] = total / count;',
        flopsPerElement: 1,
      },
      device,
    );
  });

/** See `globalAvgPoolForward`. With `pending`, a gradient of x that came from elsewhere, dx is the sum of both. */
export const globalAvgPoolGradient: Kernel<ChannelShape & { pending: boolean }> = ({ pending, ...shape }, device) => {
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
};

/** See `globalAvgPoolForward`. */
export const scaleChannelsForward: Kernel<ChannelShape> = (shape, device) => {
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
};

/** dx and dgate of the gate: see `globalAvgPoolForward`. */
export const scaleChannelsGradient: Kernel<ChannelShape> = (shape, device) =>
  rowsOf(shape, ['x', 'dy', 'dx'], ['gate', 'dgate'], device, 'scale_channels').flatMap(({ rows, ranges }) => {
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
        prepare: 'let factor = gate[c];',
        sweeps: [{ body: 'let d = dy[i]; dx[i] = d * factor;', sums: { total: 'd * x[i]' } }],
        write: 'dgate[c] = total;',
        flopsPerElement: 3,
      },
      device,
    );
  });

/** Runs of rows; `arrays` have a plane a row, `values` one element. */
function rowsOf(
  { batch, channels, plane, half }: ChannelShape,
  arrays: readonly string[],
  values: readonly string[],
  device: DeviceProfile,
  name: string,
) {
  const bytes = [
    ...arrays.map((array) => [array, bytesOfElement(half, array) * plane]),
    ...values.map((value) => [value, 4]),
  ];
  return splitRows(batch * channels, Object.fromEntries(bytes) as Record<string, number>, device, name);
}
