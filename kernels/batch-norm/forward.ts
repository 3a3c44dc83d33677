import { channelLayout, channelMap, channelReduce } from '../lib/channels.ts';
import type { Sweep } from '../lib/channels.ts';
import { ceilDiv } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { bind, f32, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { rectified } from '../lib/math.ts';
import { chunksOf } from './chunks.ts';
import type { BatchNormProblem, BatchNormTrainingProblem } from './problem.ts';

/** y from x, mean, rstd, weight and bias. */
export function forwardByChannel({ relu, ...shape }: BatchNormProblem, device: DeviceProfile): Launch[] {
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
}

/** mean and rstd of x's channels, the running statistics brought up to date, and y. */
export function trainingByChunks(problem: BatchNormTrainingProblem, device: DeviceProfile): Launch[] {
  const { momentum, eps, relu, ...shape } = problem;
  const values = shape.batch * shape.plane;
  const layout = channelLayout(shape);
  const { along, element, unit, units } = layout;
  const { parts, chunks, fused } = chunksOf(shape, 'forward', device);
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
  const merged = [
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
  ];
  const partial = { elements: 3 * shape.channels * chunks };
  return [...bind(merged, {}, { partial }), ...forwardByChannel({ ...shape, relu }, device)];
}
