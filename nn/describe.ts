/** Layers of a model with output shapes, parameters and multiply-adds, from its modules and the shape of an input. */
import type { Shape } from '../engine/index.ts';
import type { Module } from './module.ts';
import type { TensorDescription } from './state.ts';

/** What a module makes of an input of some shape. Every layer and model says it in its method `describe`. */
export interface LayerShapes {
  readonly module: Module;
  /** Name of the layer in PyTorch's or timm's terms. */
  readonly type: string;
  /** For one image. */
  readonly outputShape: Shape;
  /** For one image, of the module itself without its parts. Norms and activations do not count. */
  readonly multiplyAdds?: number;
  /** In order of use. */
  readonly parts?: readonly LayerShapes[];
}

export interface LayerDescription {
  /** Dotted name; empty for the model itself. */
  readonly path: string;
  readonly type: string;
  /** Levels below the model. */
  readonly depth: number;
  /** For one image. */
  readonly outputShape: Shape;
  /** Trained numbers, those of its parts included. */
  readonly parameters: number;
  /** For one image, its parts included. */
  readonly multiplyAdds: number;
}

export interface ModelDescription {
  /** In the order of PyTorch's state dict. */
  readonly tensors: readonly TensorDescription[];
  /** Parents before their parts, in order of use. */
  readonly layers: readonly LayerDescription[];
  readonly parameters: number;
  readonly multiplyAdds: number;
}

/** Describes a model by what its method `describe` says of an input. */
export function describeModule(root: LayerShapes): ModelDescription {
  const paths = new Map([...root.module.namedModules()].map(([path, module]) => [module, path]));
  const layers = layersOf(root, 0, paths);
  const [{ parameters, multiplyAdds }] = layers;
  return { tensors: root.module.namedTensors(), layers, parameters, multiplyAdds };
}

/** A layer and all below it. */
function layersOf(layer: LayerShapes, depth: number, paths: ReadonlyMap<Module, string>): LayerDescription[] {
  const { module, type, outputShape, multiplyAdds = 0, parts = [] } = layer;
  const below = parts.map((part) => layersOf(part, depth + 1, paths));
  const total = below.reduce((sum, [part]) => sum + part.multiplyAdds, multiplyAdds);
  const own = { path: paths.get(module)!, type, depth, outputShape };
  return [{ ...own, parameters: module.numParameters(), multiplyAdds: total }, ...below.flat()];
}
