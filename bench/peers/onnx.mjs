// As much of an ONNX writer as the comparison needs. Numbers of fields: onnx.proto.

function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest ? low | 128 : low);
  } while (rest);
  return Buffer.from(bytes);
}

const tag = (field, wire) => varint((field << 3) | wire);
const integer = (field, value) => Buffer.concat([tag(field, 0), varint(value)]);
function float(field, value) {
  const content = Buffer.alloc(4);
  content.writeFloatLE(value);
  return Buffer.concat([tag(field, 5), content]);
}
function bytes(field, value) {
  const content = Buffer.isBuffer(value) ? value : Buffer.from(value);
  return Buffer.concat([tag(field, 2), varint(content.length), content]);
}
const message = (field, parts) => bytes(field, Buffer.concat(parts));

const FLOAT = 1;
const INT64 = 7;

const tensorProto = (name, shape, data) => [
  ...shape.map((size) => integer(1, size)),
  integer(2, data instanceof BigInt64Array ? INT64 : FLOAT),
  bytes(8, name),
  bytes(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
];

const valueInfo = (name, shape) => {
  const dims = shape.map((size) => message(1, [integer(1, size)]));
  return [bytes(1, name), message(2, [message(1, [integer(1, FLOAT), message(2, dims)])])];
};

/** Attributes are integers, lists of integers, or `{ float }`. */
function attributeProto(name, value) {
  if (Array.isArray(value)) return [bytes(1, name), ...value.map((i) => integer(8, i)), integer(20, 7)];
  if (Number.isInteger(value)) return [bytes(1, name), integer(3, value), integer(20, 2)];
  return [bytes(1, name), float(2, value.float), integer(20, 1)];
}

export class Graph {
  nodes = [];
  weights = [];
  inputs = [];
  outputs = [];
  count = 0;

  input(name, shape) {
    this.inputs.push(message(11, valueInfo(name, shape)));
    return name;
  }

  /** Declares the value `from` as the output `name`. */
  output(from, name, shape) {
    this.nodes.push(message(1, [bytes(1, from), bytes(2, name), bytes(4, 'Identity')]));
    this.outputs.push(message(12, valueInfo(name, shape)));
  }

  constant(shape, data) {
    const name = `w${this.count++}`;
    this.weights.push(message(5, tensorProto(name, shape, data)));
    return name;
  }

  integers(...values) {
    return this.constant([values.length], BigInt64Array.from(values.map(BigInt)));
  }

  /** Adds a node and returns the name of its output, or the names of its `outputs` outputs. */
  op(type, inputs, attributes = {}, outputs = 1, domain = '') {
    const names = Array.from({ length: outputs }, () => `t${this.count++}`);
    this.nodes.push(
      message(1, [
        ...inputs.map((name) => bytes(1, name)),
        ...names.map((name) => bytes(2, name)),
        bytes(3, `${type}${this.count}`),
        bytes(4, type),
        ...Object.entries(attributes).map(([name, value]) => message(5, attributeProto(name, value))),
        ...(domain ? [bytes(7, domain)] : []),
      ]),
    );
    return outputs === 1 ? names[0] : names;
  }

  build() {
    const graph = message(7, [...this.nodes, bytes(2, 'g'), ...this.weights, ...this.inputs, ...this.outputs]);
    const microsoft = message(8, [bytes(1, 'com.microsoft'), integer(2, 1)]);
    return Buffer.concat([integer(1, 9), bytes(2, 'peers'), graph, message(8, [integer(2, 20)]), microsoft]);
  }
}
