import { channelLayout, channelMap, channelReduce } from '../lib/channels.ts';
import type { ChannelLayout } from '../lib/channels.ts';
import { ceilDiv } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { bind, f32, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { chunksOf } from './chunks.ts';
import type { BatchNormBackwardProblem } from './problem.ts';

/** The bindings and WGSL of `normal` and `d`: the normalised value, and the gradient that reaches it through a ReLU. */
function upstream(relu: boolean, { element, unit }: ChannelLayout) {
  const value = 'let normal = (x[i] - center) * scale;';
  return {
    bindings: [input('x', element), input('dy', element), input('mean', unit), input('rstd', unit)],
    // Without a ReLU, the weight and the bias are of no account.
    affine: relu ? [input('weight', unit), input('bias', unit)] : [],
    prepare: `let center = mean[c]; let scale = rstd[c]; ${relu ? 'let gain = weight[c]; let shift = bias[c];' : ''}`,
    body: relu
      ? `${value} let d = select(dy[i], ${element}(), normal * gain + shift <= ${element}());`
      : `${value} let d = dy[i];`,
  };
}

/** dweight, dbias and dx. In evaluation mode dx does not depend on the others. */
export function backwardByChunks(problem: BatchNormBackwardProblem, device: DeviceProfile): Launch[] {
  const { relu, training, inputGradient, ...shape } = problem;
  const layout = channelLayout(shape);
  const { along, element, unit, units } = layout;
  const { parts, chunks, fused } = chunksOf(shape, inputGradient ? 'backward' : 'sums', device);
  const { bindings, affine, prepare, body } = upstream(relu, layout);
  const suffix = `${relu ? '_relu' : ''}${training ? '' : '_evaluation'}`;
  const sums = { body, sums: { total: 'd', product: 'd * normal' } };
  if (fused) {
    const correct = training
      ? 'let slope = product / params.values; let offset = total / params.values; let factor = weight[c] * scale;'
      : 'let factor = weight[c] * scale;';
    return channelReduce(
      {
        name: `batch_norm.backward/${along}${suffix}`,
        shape,
        parts,
        bindings: [
          ...bindings,
          ...(relu ? affine : [input('weight', unit)]),
          output('dweight', unit),
          output('dbias', unit),
          output('dx', element),
        ],
        arrays: ['x', 'dy', 'dx'],
        uniforms: { values: f32(shape.batch * shape.plane) },
        prepare,
        sweeps: [
          { ...sums, then: correct },
          { body: `${body} dx[i] = factor * ${training ? '(d - offset - normal * slope)' : 'd'};`, sums: {} },
        ],
        write: 'dbias[c] = total; dweight[c] = product;',
        flopsPerElement: 12,
      },
      device,
    );
  }
  const summed = [
    ...channelReduce(
      {
        name: `batch_norm.sums/${along}${relu ? '_relu' : ''}`,
        shape,
        parts,
        bindings: [...bindings, ...affine, output('partial', unit)],
        arrays: ['x', 'dy'],
        prepare,
        sweeps: [sums],
        write: /* wgsl */ `
    partial[(chunk * 2u) * params.units + c] = total;
    partial[(chunk * 2u + 1u) * params.units + c] = product;`,
        flopsPerElement: 5,
      },
      device,
    ),
    launch({
      name: `batch_norm.total/${unit}`,
      bindings: [input('partial', unit), output('dweight', unit), output('dbias', unit), output('totals', unit)],
      uniforms: { units: u32(units), chunks: u32(chunks) },
      wgsl: /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  if (c >= params.units) { return; }
  var total = ${unit}();
  var product = ${unit}();
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    total += partial[(chunk * 2u) * params.units + c];
    product += partial[(chunk * 2u + 1u) * params.units + c];
  }
  dbias[c] = total;
  dweight[c] = product;
  totals[2u * c] = total;
  totals[2u * c + 1u] = product;
}`,
      grid: [ceilDiv(units, 64), 1, 1],
      cost: { flops: 2 * units * chunks, bytes: 8 * shape.channels * chunks },
    }),
    ...(inputGradient ? inputGradientMap(problem, device) : []),
  ];
  const { channels } = shape;
  return bind(summed, {}, { partial: { elements: 2 * channels * chunks }, totals: { elements: 2 * channels } });
}

/** dx, in training from dbias and dweight, which are both in `totals`: eight bindings are all that every device has. */
function inputGradientMap(
  { relu, training, batch, channels, plane, f16 }: BatchNormBackwardProblem,
  device: DeviceProfile,
): Launch[] {
  const shape = { batch, channels, plane, f16 };
  const layout = channelLayout(shape);
  const { along, element, unit } = layout;
  const { bindings, affine, prepare, body } = upstream(relu, layout);
  return channelMap(
    {
      name: `batch_norm.input_gradient/${along}${relu ? '_relu' : ''}${training ? '' : '_evaluation'}`,
      shape,
      bindings: [
        ...bindings,
        ...(relu ? affine : [input('weight', unit)]),
        ...(training ? [input('totals', unit)] : []),
        output('dx', element),
      ],
      arrays: ['x', 'dy', 'dx'],
      uniforms: { values: f32(batch * plane) },
      prepare: `${prepare} let factor = weight[c] * scale;
  ${training ? 'let slope = totals[2u * c + 1u] / params.values; let offset = totals[2u * c] / params.values;' : ''}`,
      body: `${body} dx[i] = factor * ${training ? '(d - offset - normal * slope)' : 'd'};`,
      flopsPerElement: 8,
    },
    device,
  );
}
