import { LayerBuilder } from './describe.ts';
import type { ModelDescription } from './describe.ts';
import { regnetyBlocks } from './regnety-config.ts';
import type { RegNetYConfig } from './regnety-config.ts';

/**
 * Layers, tensors, parameters and multiply-adds of a RegNetY. As in the paper's own counts, the biases of the linear
 * layers (squeeze-and-excitation and head) count as multiply-adds; norms, activations and pooling do not.
 */
export function describeRegNetY(config: RegNetYConfig): ModelDescription {
  const { classes, inChans, stemWidth, stemStride } = config;
  let side = Math.ceil(config.imageSize / stemStride);
  const model = new LayerBuilder('', 'RegNet', [classes]);
  model.part(convNorm('stem', inChans, stemWidth, 3, 1, side));
  let width = stemWidth;
  for (const block of regnetyBlocks(config)) {
    const { inputs, groups, squeezed } = block;
    width = block.width;
    const inner = side;
    side = Math.ceil(side / block.stride);
    const se = new LayerBuilder('se', 'SqueezeExcite', [width, side, side])
      .part(conv('fc1', width, squeezed, 1, 1, 1, true))
      .part(conv('fc2', squeezed, width, 1, 1, 1, true));
    const layer = new LayerBuilder(block.name, 'Bottleneck', [width, side, side])
      .part(convNorm('conv1', inputs, width, 1, 1, inner))
      .part(convNorm('conv2', width, width, 3, groups, side))
      .part(se)
      .part(convNorm('conv3', width, width, 1, 1, side));
    if (block.downsample) layer.part(convNorm('downsample', inputs, width, 1, 1, side));
    model.part(layer);
  }
  const fc = new LayerBuilder('head.fc', 'Linear', [classes])
    .parameters({ weight: [classes, width], bias: [classes] })
    .cost(width * classes + classes);
  return model.part(fc).describe();
}

/** A convolution with square kernel and `side` output pixels each way. */
function conv(
  name: string,
  inputs: number,
  outputs: number,
  kernel: number,
  groups: number,
  side: number,
  bias: boolean,
): LayerBuilder {
  const taps = (kernel * kernel * inputs) / groups;
  return new LayerBuilder(name, 'Conv2d', [outputs, side, side])
    .parameters({
      weight: [outputs, inputs / groups, kernel, kernel],
      ...(bias && { bias: [outputs] }),
    })
    .cost(side * side * outputs * (taps + Number(bias)));
}

function convNorm(
  name: string,
  inputs: number,
  outputs: number,
  kernel: number,
  groups: number,
  side: number,
): LayerBuilder {
  const channels = [outputs];
  const norm = new LayerBuilder('bn', 'BatchNorm2d', [outputs, side, side])
    .parameters({ weight: channels, bias: channels })
    .buffers({ running_mean: channels, running_var: channels })
    .counters({ num_batches_tracked: [] });
  return new LayerBuilder(name, 'ConvNormAct', [outputs, side, side])
    .part(conv('conv', inputs, outputs, kernel, groups, side, false))
    .part(norm);
}
