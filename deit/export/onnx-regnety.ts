import { regnetyBlocks } from '../models/regnety-config.ts';
import type { RegNetYConfig } from '../models/regnety-config.ts';
import type { OnnxGraph, OnnxLogits, Weights } from './onnx-graph.ts';

/** Epsilon of the batch norms. */
const EPS = 1e-5;

interface ConvOptions {
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: 1 | 3;
  readonly stride?: number;
  readonly groups?: number;
}

/**
 * The forward pass of a RegNetY in evaluation mode, images [B, C, H, W] to logits. Batch norms are folded into the
 * convolutions before them, in float64, as PyTorch's exporter does: running statistics need not fit f16, and no runtime has to.
 */
export function regnetyGraph(graph: OnnxGraph, config: RegNetYConfig, weights: Weights, images: string): OnnxLogits {
  const { inChans, stemWidth, stemStride, classes } = config;

  const conv = (name: string, x: string, options: ConvOptions, kernel: Float32Array, bias: Float32Array): string => {
    const { inputs, outputs, kernel: side, stride = 1, groups = 1 } = options;
    const weight = graph.weight(`${name}.weight`, [outputs, inputs / groups, side, side], kernel);
    const padding = (side - 1) / 2;
    return graph.node('Conv', name, [x, weight, graph.weight(`${name}.bias`, [outputs], bias)], {
      kernel_shape: [side, side],
      strides: [stride, stride],
      pads: [padding, padding, padding, padding],
      group: groups,
    });
  };
  /** y = scale * conv(x) + shift, the scale within the kernel. */
  const convNorm = (name: string, x: string, options: ConvOptions): string => {
    const [gamma, beta, mean, variance] = ['weight', 'bias', 'running_mean', 'running_var'].map((part) =>
      weights(`${name}.bn.${part}`),
    );
    const scale = Float64Array.from(gamma, (value, channel) => value / Math.sqrt(variance[channel] + EPS));
    const kernel = weights(`${name}.conv.weight`);
    const taps = kernel.length / options.outputs;
    const scaled = kernel.map((value, i) => value * scale[Math.floor(i / taps)]);
    const shift = beta.map((value, channel) => value - mean[channel] * scale[channel]);
    return conv(`${name}.conv`, x, options, scaled, shift);
  };
  const relu = (name: string, x: string): string => graph.node('Relu', `${name}/Relu`, [x]);
  const pool = (name: string, x: string): string => graph.node('GlobalAveragePool', `${name}/pool`, [x]);

  const squeezeExcite = (name: string, x: string, channels: number, squeezed: number): string => {
    const fc = (part: string, input: string, inputs: number, outputs: number): string =>
      conv(part, input, { inputs, outputs, kernel: 1 }, weights(`${part}.weight`), weights(`${part}.bias`));
    const hidden = relu(`${name}.fc1`, fc(`${name}.fc1`, pool(name, x), channels, squeezed));
    const gate = graph.node('Sigmoid', `${name}/Sigmoid`, [fc(`${name}.fc2`, hidden, squeezed, channels)]);
    return graph.node('Mul', name, [x, gate]);
  };

  const stem = { inputs: inChans, outputs: stemWidth, kernel: 3, stride: stemStride } as const;
  let x = relu('stem', convNorm('stem', images, stem));
  let features = stemWidth;
  for (const { name, inputs, width, groups, stride, squeezed, downsample } of regnetyBlocks(config)) {
    const expanded = relu(`${name}.conv1`, convNorm(`${name}.conv1`, x, { inputs, outputs: width, kernel: 1 }));
    const middle = { inputs: width, outputs: width, kernel: 3, stride, groups } as const;
    const gated = squeezeExcite(
      `${name}.se`,
      relu(`${name}.conv2`, convNorm(`${name}.conv2`, expanded, middle)),
      width,
      squeezed,
    );
    const branch = convNorm(`${name}.conv3`, gated, { inputs: width, outputs: width, kernel: 1 });
    const shortcut = downsample ? convNorm(`${name}.downsample`, x, { inputs, outputs: width, kernel: 1, stride }) : x;
    x = relu(name, graph.node('Add', name, [shortcut, branch]));
    features = width;
  }
  const flat = graph.node('Flatten', 'head/Flatten', [pool('head', x)], { axis: 1 });
  const head = ['head.fc.weight', 'head.fc.bias'] as const;
  const parameters = head.map((name, i) =>
    graph.weight(name, i === 0 ? [classes, features] : [classes], weights(name)),
  );
  return { cls: graph.node('Gemm', 'head.fc', [flat, ...parameters], { transB: 1 }), dist: null };
}
