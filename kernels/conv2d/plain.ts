import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { i32, input, output } from '../lib/kernel.ts';
import type { Binding, Launch } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';
import { convOutput, f16Bindings, storeEnded } from './problem.ts';
import type { ConvForwardProblem, ConvProblem, ConvTensor } from './problem.ts';

/*
 * One invocation an element of what is written: of y, of dx, or of dweight. Sizes are signed, since coordinates in the image
 * may be negative.
 */

const index = (sizes: string): string => /* wgsl */ `
  let n = i32(i);
  let c = params.channels / params.groups;
  let f = params.filters / params.groups;
  ${sizes}`;

/** x[b, channel, row, column], or zero in the padding. */
const readPixel = /* wgsl */ `
fn pixel(b: i32, channel: i32, row: i32, column: i32) -> f32 {
  if (row < 0 || row >= params.height || column < 0 || column >= params.width) { return 0.0; }
  return x[((b * params.channels + channel) * params.height + row) * params.width + column];
}`;

interface Spec {
  readonly name: string;
  readonly bindings: readonly Binding[];
  readonly holds: Readonly<Record<string, ConvTensor>>;
  readonly count: number;
  readonly functions?: string;
  readonly body: string;
}

function plain(p: ConvProblem, { name, bindings, holds, count, ...code }: Spec, device: DeviceProfile): Launch[] {
  const [outHeight, outWidth] = convOutput(p);
  const macs = (p.batch * p.filters * outHeight * outWidth * p.channels * p.kernelHeight * p.kernelWidth) / p.groups;
  const kernel = perInvocation(
    {
      name: `conv2d.${name}/plain`,
      bindings,
      uniforms: {
        batch: i32(p.batch),
        channels: i32(p.channels),
        height: i32(p.height),
        width: i32(p.width),
        filters: i32(p.filters),
        kernel_height: i32(p.kernelHeight),
        kernel_width: i32(p.kernelWidth),
        conv_stride: i32(p.stride),
        padding: i32(p.padding),
        groups: i32(p.groups),
        out_height: i32(outHeight),
        out_width: i32(outWidth),
      },
      count,
      ...code,
      cost: { flops: 2 * macs, bytes: 4 * count },
    },
    device,
  );
  return inF16([kernel], f16Bindings(p, holds));
}

export function forwardPlain(p: ConvForwardProblem, device: DeviceProfile): Launch[] {
  const [outHeight, outWidth] = convOutput(p);
  const spec: Spec = {
    name: 'forward',
    bindings: [
      input('x'),
      input('weight'),
      output('y'),
      ...(p.bias ? [input('bias')] : []),
      ...(p.shortcut ? [input('shortcut')] : []),
    ],
    holds: { x: 'x', weight: 'weight', y: 'y' },
    count: p.batch * p.filters * outHeight * outWidth,
    functions: readPixel,
    body: /* wgsl */ `${index(`
  let q = n % params.out_width;
  let row = n / params.out_width % params.out_height;
  let o = n / params.out_width / params.out_height % params.filters;
  let b = n / params.out_width / params.out_height / params.filters;`)}
  var sum = ${p.bias ? 'bias[o]' : '0.0'};
  for (var k = 0; k < c; k++) {
    for (var ky = 0; ky < params.kernel_height; ky++) {
      for (var kx = 0; kx < params.kernel_width; kx++) {
        let w = weight[((o * c + k) * params.kernel_height + ky) * params.kernel_width + kx];
        sum += w * pixel(b, o / f * c + k, row * params.conv_stride - params.padding + ky, q * params.conv_stride - params.padding + kx);
      }
    }
  }
  ${storeEnded(p, 'y', 'i', 'sum', 'f32')}`,
  };
  return plain(p, spec, device);
}

export function inputGradientPlain(p: ConvProblem, device: DeviceProfile): Launch[] {
  const spec: Spec = {
    name: 'input_gradient',
    bindings: [input('dy'), input('weight'), output('dx')],
    holds: { dy: 'y', weight: 'weight', dx: 'x' },
    count: p.batch * p.channels * p.height * p.width,
    body: /* wgsl */ `${index(`
  let column = n % params.width;
  let row = n / params.width % params.height;
  let channel = n / params.width / params.height % params.channels;
  let b = n / params.width / params.height / params.channels;`)}
  var sum = 0.0;
  for (var k = 0; k < f; k++) {
    let o = channel / c * f + k;
    for (var ky = 0; ky < params.kernel_height; ky++) {
      for (var kx = 0; kx < params.kernel_width; kx++) {
        // The outputs that this pixel reaches with the stride.
        let down = row + params.padding - ky;
        let across = column + params.padding - kx;
        if (down < 0 || across < 0 || down % params.conv_stride != 0 || across % params.conv_stride != 0) { continue; }
        let p = down / params.conv_stride;
        let q = across / params.conv_stride;
        if (p >= params.out_height || q >= params.out_width) { continue; }
        sum += weight[((o * c + channel % c) * params.kernel_height + ky) * params.kernel_width + kx] *
          dy[((b * params.filters + o) * params.out_height + p) * params.out_width + q];
      }
    }
  }
  dx[i] = sum;`,
  };
  return plain(p, spec, device);
}

export function weightGradientPlain(p: ConvProblem, device: DeviceProfile): Launch[] {
  const spec: Spec = {
    name: 'weight_gradient',
    bindings: [input('x'), input('dy'), output('dw')],
    holds: { x: 'x', dy: 'y', dw: 'weight' },
    count: (p.filters * p.channels * p.kernelHeight * p.kernelWidth) / p.groups,
    functions: readPixel,
    body: /* wgsl */ `${index(`
  let kx = n % params.kernel_width;
  let ky = n / params.kernel_width % params.kernel_height;
  let k = n / params.kernel_width / params.kernel_height % c;
  let o = n / params.kernel_width / params.kernel_height / c;`)}
  var sum = 0.0;
  for (var b = 0; b < params.batch; b++) {
    // Sums of rows are added up, not single products: rounding errors grow with the number of additions in a row.
    for (var p = 0; p < params.out_height; p++) {
      var part = 0.0;
      for (var q = 0; q < params.out_width; q++) {
        part += dy[((b * params.filters + o) * params.out_height + p) * params.out_width + q] *
          pixel(b, o / f * c + k, p * params.conv_stride - params.padding + ky, q * params.conv_stride - params.padding + kx);
      }
      sum += part;
    }
  }
  dw[i] = sum;`,
  };
  return plain(p, spec, device);
}
