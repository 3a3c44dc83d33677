/**
 * Global average pooling of x [batch, channels, plane], as x.mean((2, 3)) in PyTorch:
 *
 *     y[b, c] = sum over p of x[b, c, p] / plane        dx[b, c, p] = dy[b, c] / plane  (+ pending[b, c, p])
 *
 * Nothing is kept. Gradients are written; `pending` is a gradient that reached x along another path (squeeze-and-excitation).
 */
import { channelLayout, channelMap, channelReduce, planeRows } from '../lib/channels.ts';
import type { ChannelShape } from '../lib/channels.ts';
import { f32, input, output } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';

export const globalAvgPoolForward: Kernel<ChannelShape> = (shape, device) =>
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
