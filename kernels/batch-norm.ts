import { channelLayout, channelMap, channelReduce, chunkCount, reduceParts } from './channels.ts';
import type { ChannelLayout, ChannelShape } from './channels.ts';
import { ceilDiv } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { f32, input, launch, output, require, u32 } from './kernel.ts';
import type { Kernel } from './kernel.ts';

/**
 * Batch normalisation by channel over images and pixels, N = batch * plane values each (Ioffe and Szegedy 2015):
 *   y = (x - mean) * rstd * weight + bias, and, if asked for, its ReLU,   rstd = 1 / sqrt(variance + eps)
 * In training, mean and (biased) variance are those of the batch: each chunk of a channel sweeps its values twice, for
 * their mean and for the sum of squared deviations from it (and of the deviations, to correct both for the rounding of
 * the mean), and the chunks are merged by Chan's formula. The running
 * statistics move to the batch's by `momentum`, the variance in its unbiased form, as in PyTorch. Saved for backward:
 * x, mean, rstd. Gradients, written: with d = dy (zero where a fused ReLU gave zero) and h = (x - mean) * rstd,
 *   dbias = sum d,  dweight = sum d h,  dx = weight * rstd * (d - dbias / N - h * dweight / N)
 * and in evaluation, where the statistics are constants, dx = weight * rstd * d.
 */
export interface BatchNormProblem extends ChannelShape {
  readonly relu: boolean;
}

/** Elements of the tensor `partial` of `batchStatistics` and `batchNormSums`. */
export function batchNormPartialSize(shape: ChannelShape, device: DeviceProfile): number {
  const chunks = Math.max(chunkCount(parts(shape, 'statistics', device)), chunkCount(parts(shape, 'sums', device)));
  return 3 * shape.channels * chunks;
}

type Pass = 'statistics' | 'sums';

const parts = ({ batch, channels, plane }: ChannelShape, pass: Pass, device: DeviceProfile) =>
  reduceParts({ batch, channels, plane }, pass === 'statistics' ? ['x'] : ['x', 'dy'], device, `batch_norm.${pass}`);

/** mean and rstd of x's channels, and the running statistics brought up to date. */
export const batchStatistics: Kernel<ChannelShape & { momentum: number; eps: number }> = (problem, device) => {
  const { momentum, eps, ...shape } = problem;
  const values = shape.batch * shape.plane;
  require(values > 1, 'batch_norm', 'more than one value a channel in training', problem);
  const layout = channelLayout(shape);
  const { unit, units } = layout;
  const split = parts(shape, 'statistics', device);
  return [
    ...channelReduce(
      {
        name: `batch_norm.statistics/${layout.along}`,
        shape,
        parts: split,
        bindings: [input('x', layout.element), output('partial', unit)],
        sweeps: [
          { sums: { total: 'x[i]' }, then: 'let rounded = total / count;' },
          {
            body: 'let deviation = x[i] - rounded;',
            sums: { squares: 'deviation * deviation', rest: 'deviation' },
          },
        ],
        write: /* wgsl */ `
    partial[(chunk * 3u) * params.units + c] = ${unit}(count);
    partial[(chunk * 3u + 1u) * params.units + c] = rounded + rest / count;
    partial[(chunk * 3u + 2u) * params.units + c] = squares - rest * rest / count;`,
        flopsPerElement: 5,
      },
      device,
    ),
    launch({
      name: `batch_norm.merge/${unit}`,
      bindings: [
        input('partial', unit),
        output('mean', unit),
        output('rstd', unit),
        output('running_mean', unit),
        output('running_var', unit),
      ],
      uniforms: {
        units: u32(units),
        chunks: u32(chunkCount(split)),
        values: f32(values),
        momentum: f32(momentum),
        eps: f32(eps),
      },
      wgsl: /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  if (c >= params.units) { return; }
  var count = partial[c];
  var average = partial[params.units + c];
  var squares = partial[2u * params.units + c];
  for (var chunk = 1u; chunk < params.chunks; chunk++) {
    let other = partial[(chunk * 3u) * params.units + c];
    let delta = partial[(chunk * 3u + 1u) * params.units + c] - average;
    let share = other / (count + other);
    average += delta * share;
    squares += partial[(chunk * 3u + 2u) * params.units + c] + delta * delta * count * share;
    count += other;
  }
  mean[c] = average;
  rstd[c] = 1.0 / sqrt(squares / params.values + params.eps);
  running_mean[c] += params.momentum * (average - running_mean[c]);
  running_var[c] += params.momentum * (squares / (params.values - 1.0) - running_var[c]);
}`,
      grid: [ceilDiv(units, 64), 1, 1],
      cost: { flops: 10 * units * chunkCount(split), bytes: 12 * shape.channels * chunkCount(split) },
    }),
  ];
};

/** rstd = 1 / sqrt(variance + eps), for evaluation. */
export const reciprocalDeviation: Kernel<{ channels: number; eps: number }> = ({ channels, eps }) => [
  launch({
    name: 'batch_norm.reciprocal_deviation',
    bindings: [input('variance'), output('rstd')],
    uniforms: { channels: u32(channels), eps: f32(eps) },
    wgsl: /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.channels) { rstd[id.x] = 1.0 / sqrt(variance[id.x] + params.eps); }
}`,
    grid: [ceilDiv(channels, 64), 1, 1],
    cost: { flops: 3 * channels, bytes: 8 * channels },
  }),
];

/** y from x, mean, rstd, weight and bias. */
export const batchNormForward: Kernel<BatchNormProblem> = ({ relu, ...shape }, device) => {
  const { along, element, unit } = channelLayout(shape);
  return channelMap(
    {
      name: `batch_norm.forward/${along}${relu ? '_relu' : ''}`,
      shape,
      bindings: [
        input('x', element),
        ...['mean', 'rstd', 'weight', 'bias'].map((name) => input(name, unit)),
        output('y', element),
      ],
      arrays: ['x', 'y'],
      prepare: 'let scale = rstd[c] * weight[c]; let center = mean[c]; let shift = bias[c];',
      body: relu
        ? `y[i] = max((x[i] - center) * scale + shift, ${element}());`
        : 'y[i] = (x[i] - center) * scale + shift;',
      flopsPerElement: 3,
    },
    device,
  );
};

/** The bindings and WGSL of `normal` and `d`: the normalised value, and the gradient that reaches it through a ReLU. */
function upstream(relu: boolean, { element, unit }: ChannelLayout) {
  const value = 'let normal = (x[i] - center) * scale;';
  return {
    bindings: [input('x', element), input('dy', element), input('mean', unit), input('rstd', unit)],
    // Without a ReLU, the weight and the bias are of no account.
    affine: relu ? [input('weight', unit), input('bias', unit)] : [],
    prepare: `let center = mean[c]; let scale = rstd[c]; ${relu ? 'let gain = weight[c]; let shift = bias[c];' : ''}`,
    body: relu
      ? `${value} let d = select(${element}(), dy[i], normal * gain + shift > ${element}());`
      : `${value} let d = dy[i];`,
  };
}

/** dweight and dbias. */
export const batchNormSums: Kernel<BatchNormProblem> = ({ relu, ...shape }, device) => {
  const layout = channelLayout(shape);
  const { along, unit, units } = layout;
  const split = parts(shape, 'sums', device);
  const { bindings, affine, prepare, body } = upstream(relu, layout);
  return [
    ...channelReduce(
      {
        name: `batch_norm.sums/${along}${relu ? '_relu' : ''}`,
        shape,
        parts: split,
        bindings: [...bindings, ...affine, output('partial', unit)],
        prepare,
        sweeps: [{ body, sums: { total: 'd', product: 'd * normal' } }],
        write: /* wgsl */ `
    partial[(chunk * 2u) * params.units + c] = total;
    partial[(chunk * 2u + 1u) * params.units + c] = product;`,
        flopsPerElement: 5,
      },
      device,
    ),
    launch({
      name: `batch_norm.total/${unit}`,
      bindings: [input('partial', unit), output('dweight', unit), output('dbias', unit)],
      uniforms: { units: u32(units), chunks: u32(chunkCount(split)) },
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
}`,
      grid: [ceilDiv(units, 64), 1, 1],
      cost: { flops: 2 * units * chunkCount(split), bytes: 8 * shape.channels * chunkCount(split) },
    }),
  ];
};

/** dx, in training from dweight and dbias too. */
export const batchNormInputGradient: Kernel<BatchNormProblem & { training: boolean }> = (problem, device) => {
  const { relu, training, ...shape } = problem;
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
        ...(training ? [input('dweight', unit), input('dbias', unit)] : []),
        output('dx', element),
      ],
      arrays: ['x', 'dy', 'dx'],
      uniforms: { values: f32(shape.batch * shape.plane) },
      prepare: `${prepare} let factor = weight[c] * scale;
  ${training ? 'let slope = dweight[c] / params.values; let offset = dbias[c] / params.values;' : ''}`,
      body: `${body} dx[i] = factor * ${training ? '(d - offset - normal * slope)' : 'd'};`,
      flopsPerElement: 8,
    },
    device,
  );
};

/** dbias[c] = sum over images and pixels of dy: the bias gradient of a convolution. */
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
