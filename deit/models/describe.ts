/** Models without a GPU: names and shapes of their tensors, parameters and multiply-adds. */
import { numel } from '../../engine/index.ts';
import type { Shape } from '../../engine/index.ts';

export interface TensorDescription {
  readonly name: string;
  readonly shape: Shape;
  /** Trained, part of the state (running statistics), or an integer that lives on the host. */
  readonly kind: 'parameter' | 'buffer' | 'counter';
}

export interface LayerDescription {
  /** Dotted name; empty for the model itself. */
  readonly path: string;
  /** Name of the layer in PyTorch's terms. */
  readonly type: string;
  /** Levels below the model. */
  readonly depth: number;
  /** For one image. */
  readonly outputShape: Shape;
  /** Trained numbers, those of its parts included. */
  readonly parameters: number;
  /** For one image, its parts included. Attention products count; biases, norms and activations do not. */
  readonly multiplyAdds: number;
}

export interface ModelDescription {
  /** In the order of timm's state dict. */
  readonly tensors: readonly TensorDescription[];
  /** Parents before their parts, in order of use. */
  readonly layers: readonly LayerDescription[];
  readonly parameters: number;
  readonly multiplyAdds: number;
}

type Named = Readonly<Record<string, Shape>>;

/** One layer of a description, gathering what is in it. */
export class LayerBuilder {
  private own: TensorDescription[] = [];
  private readonly parts: LayerBuilder[] = [];
  private multiplyAdds = 0;

  constructor(
    private readonly name: string,
    private readonly type: string,
    private readonly outputShape: Shape,
  ) {}

  parameters(named: Named): this {
    return this.add('parameter', named);
  }

  buffers(named: Named): this {
    return this.add('buffer', named);
  }

  counters(named: Named): this {
    return this.add('counter', named);
  }

  private add(kind: TensorDescription['kind'], named: Named): this {
    this.own.push(...Object.entries(named).map(([name, shape]) => ({ name, shape, kind })));
    return this;
  }

  /** Multiply-adds of this layer itself. */
  cost(multiplyAdds: number): this {
    this.multiplyAdds += multiplyAdds;
    return this;
  }

  part(part: LayerBuilder): this {
    this.parts.push(part);
    return this;
  }

  describe(): ModelDescription {
    const tensors: TensorDescription[] = [];
    const layers: LayerDescription[] = [];
    const { parameters, multiplyAdds } = this.visit('', -1, tensors, layers);
    return { tensors, layers, parameters, multiplyAdds };
  }

  private visit(prefix: string, level: number, tensors: TensorDescription[], layers: LayerDescription[]): Totals {
    const path = this.name === '' || prefix === '' ? prefix + this.name : `${prefix}.${this.name}`;
    const { type, outputShape } = this;
    for (const { name, shape, kind } of this.own) tensors.push({ name: path ? `${path}.${name}` : name, shape, kind });
    const totals: Totals = {
      parameters: this.own.reduce((sum, { kind, shape }) => sum + (kind === 'parameter' ? numel(shape) : 0), 0),
      multiplyAdds: this.multiplyAdds,
    };
    const place = layers.length;
    layers.push({ path, type, depth: level + 1, outputShape, ...totals });
    for (const part of this.parts) {
      const below = part.visit(path, level + 1, tensors, layers);
      totals.parameters += below.parameters;
      totals.multiplyAdds += below.multiplyAdds;
    }
    layers[place] = { ...layers[place], ...totals };
    return totals;
  }
}

interface Totals {
  parameters: number;
  multiplyAdds: number;
}

/** A linear layer applied to `rows` rows of an image. */
export function linearLayer(name: string, inputs: number, outputs: number, rows: Shape): LayerBuilder {
  return new LayerBuilder(name, 'Linear', [...rows, outputs])
    .parameters({ weight: [outputs, inputs], bias: [outputs] })
    .cost(numel(rows) * inputs * outputs);
}
