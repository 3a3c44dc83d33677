/**
 * A graph of ONNX operators under construction (source: onnx.proto, docs/IR.md and docs/Operators.md of ONNX). Plain
 * objects with the field names of the published messages; `node/onnx-file.ts` makes bytes of them. Browser-safe.
 */
import { numel, storeFloats } from '../../engine/index.ts';
import type { Shape } from '../../engine/index.ts';
import { toF16 } from '../weights/to-f16.ts';

/** Operator set that the graphs use: the first with LayerNormalization. */
export const OPSET = 17;
/** Version of the file format that came with this operator set. */
export const IR_VERSION = 8;

/** TensorProto.DataType. */
const DataType = { f32: 1, i64: 7, f16: 10 } as const;
/** AttributeProto.AttributeType. */
const AttributeType = { FLOAT: 1, INT: 2, INTS: 7 } as const;

export type OnnxFloat = 'f32' | 'f16';
/** A whole number or a list of them. Floats are given as `{ float: x }`, since 1 and 1.0 are different to ONNX. */
export type OnnxAttribute = number | readonly number[] | { readonly float: number };

/** Values of a tensor of the state dict, under timm's name. */
export type Weights = (name: string) => Float32Array;

/** Names of the tensors with the logits of the heads. */
export interface OnnxLogits {
  readonly cls: string;
  readonly dist: string | null;
}

/** NodeProto. */
interface OnnxNode {
  readonly name: string;
  readonly opType: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attribute: readonly object[];
}

/** TensorProto. */
export interface OnnxTensor {
  readonly name: string;
  readonly dims: readonly number[];
  readonly dataType: number;
  readonly rawData: Uint8Array;
}

/** ValueInfoProto. A size that is a word, such as `batch`, may differ from call to call. */
function valueInfo(name: string, shape: readonly (number | string)[]): object {
  const dim = shape.map((size) => (typeof size === 'string' ? { dimParam: size } : { dimValue: size }));
  return { name, type: { tensorType: { elemType: DataType.f32, shape: { dim } } } };
}

function attributeProto(name: string, value: OnnxAttribute): object {
  if (typeof value === 'number') return { name, type: AttributeType.INT, i: value };
  if ('float' in value) return { name, type: AttributeType.FLOAT, f: value.float };
  return { name, type: AttributeType.INTS, ints: value };
}

/** Gathers nodes, weights, inputs and outputs. Every method returns the name under which later nodes find its result. */
export class OnnxGraph {
  private readonly nodes: OnnxNode[] = [];
  private readonly initializers: OnnxTensor[] = [];
  private readonly inputs: object[] = [];
  private readonly outputs: object[] = [];

  /** `dtype` is what weights are stored in and nodes compute on. Inputs and outputs are always f32. */
  constructor(readonly dtype: OnnxFloat) {}

  /** A stored tensor of the graph's dtype. Throws `non-finite` for a value beyond f16's range. */
  weight(name: string, shape: Shape, values: Float32Array): string {
    if (values.length !== numel(shape)) throw new Error(`${name}: ${values.length} values for [${shape.join(', ')}]`);
    const stored = storeFloats(values, shape);
    const { bytes } = this.dtype === 'f16' ? toF16(name, stored) : stored;
    this.initializers.push({ name, dims: shape, dataType: DataType[this.dtype], rawData: bytes });
    return name;
  }

  /** A number that nodes share. */
  scalar(name: string, value: number): string {
    return this.weight(name, [], Float32Array.of(value));
  }

  /** A list of whole numbers that a node takes as an input, such as a shape. */
  integers(name: string, values: readonly number[]): string {
    return this.wholeNumbers(name, [values.length], values);
  }

  /** A single whole number, such as an index. */
  integer(name: string, value: number): string {
    return this.wholeNumbers(name, [], [value]);
  }

  private wholeNumbers(name: string, dims: readonly number[], values: readonly number[]): string {
    const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    this.initializers.push({ name, dims, dataType: DataType.i64, rawData });
    return name;
  }

  /** Applies an operator; its result bears the node's name. */
  node(
    opType: string,
    name: string,
    input: readonly string[],
    attributes: Readonly<Record<string, OnnxAttribute>> = {},
  ): string {
    return this.split(opType, name, input, [name], attributes)[0];
  }

  /** Applies an operator of several results. */
  split(
    opType: string,
    name: string,
    input: readonly string[],
    output: readonly string[],
    attributes: Readonly<Record<string, OnnxAttribute>> = {},
  ): readonly string[] {
    const attribute = Object.entries(attributes).map(([key, value]) => attributeProto(key, value));
    this.nodes.push({ name, opType, input, output, attribute });
    return output;
  }

  /** An f32 input of the model, converted to the graph's dtype. */
  input(name: string, shape: readonly (number | string)[]): string {
    this.inputs.push(valueInfo(name, shape));
    return this.dtype === 'f32' ? name : this.node('Cast', `${name}/f16`, [name], { to: DataType.f16 });
  }

  /** Makes `from` an f32 output of the model. */
  output(name: string, from: string, shape: readonly (number | string)[]): void {
    this.outputs.push(valueInfo(name, shape));
    if (this.dtype === 'f32') this.node('Identity', name, [from]);
    else this.node('Cast', name, [from], { to: DataType.f32 });
  }

  /** GraphProto. */
  build(name: string): object {
    const { nodes: node, initializers: initializer, inputs: input, outputs: output } = this;
    return { name, node, initializer, input, output };
  }
}
