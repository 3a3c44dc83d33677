/**
 * Batch normalisation by channel over images and pixels, N = batch * plane values each (Ioffe and Szegedy 2015):
 *   y = (x - mean) * rstd * weight + bias, and, if asked for, its ReLU,   rstd = 1 / sqrt(variance + eps)
 * In training, mean and (biased) variance are those of the batch: each chunk of a channel sweeps its values twice, for
 * their mean and for the sum of squared deviations from it (and of the deviations, to correct both for the rounding of
 * the mean), and the chunks are merged by Chan's formula. The running statistics move to the batch's by `momentum`, the variance in its unbiased form, as in PyTorch. Saved for backward:
 * x, mean, rstd. Gradients, written: with d = dy (zero where a fused ReLU gave zero) and h = (x - mean) * rstd,
 *   dbias = sum d,  dweight = sum d h,  dx = weight * rstd * (d - dbias / N - h * dweight / N)
 * and in evaluation, where the statistics are constants, dx = weight * rstd * d.
 */
import { channelLayout, channelMap, channelReduce, chunkCount, reduceParts } from '../lib/channels.ts';
import type { ChannelLayout, ChannelShape, Sweep } from '../lib/channels.ts';
import { ceilDiv } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { f32, input, launch, output, require, u32 } from '../lib/kernel.ts';
import type { Kernel, Launch } from '../lib/kernel.ts';
import { rectified } from '../lib/math.ts';

export interface BatchNormProblem extends ChannelShape {
  readonly relu: boolean;
}

/** Forward in training, backward, and backward without the input gradient. */
export type Pass = 'forward' | 'backward' | 'sums';

/**
 * How a pass is cut. A pass of one chunk a channel is one kernel, which sums and then sweeps once more to write y or dx;
 * otherwise the chunks' sums go through the tensor `partial`.
 */
function plan({ batch, channels, plane, half }: ChannelShape, pass: Pass, device: DeviceProfile) {
  const arrays = { forward: ['x', 'y'], backward: ['x', 'dy', 'dx'], sums: ['x', 'dy'] }[pass];
  const parts = reduceParts({ batch, channels, plane, half }, arrays, device, `batch_norm.${pass}`);
  const chunks = chunkCount(parts);
  // x, dy, mean, rstd, weight, bias, dweight, dbias and dx are the most bindings of one kernel.
  const fused = pass !== 'sums' && chunks === 1 && device.maxStorageBuffers >= 9;
  return { parts, chunks, fused };
}

/** Elements of the tensor `partial` of a pass: 0 where it is not needed. */
export function batchNormPartialSize(shape: ChannelShape, pass: Pass, device: DeviceProfile): number {
  const { chunks, fused } = plan(shape, pass, device);
  return fused ? 0 : 3 * shape.channels * chunks;
}

type TrainingProblem = BatchNormProblem & { momentum: number; eps: number };

/** mean and rstd of x's channels, the running statistics brought up to date, and y. */
export const batchNormTraining: Kernel<TrainingProblem> = (problem, device) => {
  const { momentum, eps, relu, ...shape } = problem;
  const values = shape.batch * shape.plane;
  require(values > 1, 'batch_norm', 'more than one value a channel in training', problem);
  const layout = channelLayout(shape);
  const { along, element, unit, units } = layout;
  const { parts, chunks, fused } = plan(shape, 'forward', device);
  // What is derived of them, once the sums of both sweeps are there.
  const moments = (derived = ''): Sweep[] => [
    { sums: { total: 'x[i]' }, then: 'let rounded = total / count;' },
    {
      body: 'let deviation = x[i] - rounded;',
      sums: { deviations: 'deviation * deviation', rest: 'deviation' },
      then: `var average = rounded + rest / count; var squares = deviations - rest * rest / count; ${derived}`,
    },
  ];
  const statistics = ['mean', 'rstd', 'running_mean', 'running_var'].map((name) => output(name, unit));
  const uniforms = { values: f32(values), momentum: f32(momentum), eps: f32(eps) };
  const store = /* wgsl */ `
    mean[c] = average;
    rstd[c] = 1.0 / sqrt(squares / params.values + params.eps);
    running_mean[c] += params.momentum * (average - running_mean[c]);
    running_var[c] += params.momentum * (squares / (params.values - 1.0) - running_var[c]);`;
  const name = `batch_norm.training/${along}`;
  if (fused) {
    const affine = [input('weight', unit), input('bias', unit)];
    const gain = 'let gain = 1.0 / sqrt(squares / params.values + params.eps) * weight[c]; let shift = bias[c];';
    const normalise = {
      body: `let value = (x[i] - average) * gain + shift; y[i] = ${relu ? rectified('value', element) : 'value'};`,
      sums: {},
    };
    return channelReduce(
      {
        name: `${name}${relu ? '_relu' : ''}`,
        shape,
        parts,
        bindings: [input('x', element), ...affine, ...statistics, output('y', element)],
        arrays: ['x', 'y'],
        uniforms,
        sweeps: [...moments(gain), normalise],
        write: store,
        flopsPerElement: 8,
      },
      device,
    );
  }
  return [
    ...channelReduce(
      {
        name: `${name}_chunk`,
        shape,
        parts,
        bindings: [input('x', element), output('partial', unit)],
        arrays: ['x'],
        sweeps: moments(),
        write: /* wgsl */ `
    partial[(chunk * 3u) * params.units + c] = ${unit}(count);
    partial[(chunk * 3u + 1u) * params.units + c] = average;
    partial[(chunk * 3u + 2u) * params.units + c] = squares;`,
        flopsPerElement: 5,
      },
      device,
    ),
    launch({
      name: `batch_norm.merge/${unit}`,
      bindings: [input('partial', unit), ...statistics],
      uniforms: { units: u32(units), chunks: u32(chunks), ...uniforms },
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
  ${store}
}`,
      grid: [ceilDiv(units, 64), 1, 1],
      cost: { flops: 10 * units * chunks, bytes: 12 * shape.channels * chunks },
    }),
    ...batchNormForward({ ...shape, relu }, device),
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
      body: `let value = (x[i] - center) * scale + shift; y[i] = ${relu ? rectified('value', element) : 'value'};`,
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
      ? `${value} let d = select(dy[i], ${element}(), normal * gain + shift <= ${element}());`
      : `${value} let d = dy[i];`,
  };
}

/** What backward is to give: dweight and dbias always, dx if asked for. */
export type BatchNormBackwardProblem = BatchNormProblem & { training: boolean; inputGradient: boolean };

/** dweight, dbias and dx. In evaluation mode dx does not depend on the others. */
export const batchNormBackward: Kernel<BatchNormBackwardProblem> = (problem, device) => {
  const { relu, training, inputGradient, ...shape } = problem;
  const layout = channelLayout(shape);
  const { along, element, unit, units } = layout;
  const { parts, chunks, fused } = plan(shape, inputGradient ? 'backward' : 'sums', device);
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
  return [
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
      bindings: [input('partial', unit), output('dweight', unit), output('dbias', unit)],
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
}`,
      grid: [ceilDiv(units, 64), 1, 1],
      cost: { flops: 2 * units * chunks, bytes: 8 * shape.channels * chunks },
    }),
    ...(inputGradient ? inputGradientMap(problem, device) : []),
  ];
};

/** dx, in training from dweight and dbias. */
function inputGradientMap(
  { relu, training, batch, channels, plane, half }: BatchNormBackwardProblem,
  device: DeviceProfile,
): Launch[] {
  const shape = { batch, channels, plane, half };
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
      uniforms: { values: f32(batch * plane) },
      prepare: `${prepare} let factor = weight[c] * scale;
  ${training ? 'let slope = dweight[c] / params.values; let offset = dbias[c] / params.values;' : ''}`,
      body: `${body} dx[i] = factor * ${training ? '(d - offset - normal * slope)' : 'd'};`,
      flopsPerElement: 8,
    },
    device,
  );
}
