import * as ops from '../../engine/index.ts';
import type { Engine, Shape, Tensor } from '../../engine/index.ts';
import { declarations } from './declarations.ts';
import { goldenJson, goldenTensors } from './golden.ts';
import type { GoldenTensor } from './golden.ts';

/** A row of ops.json. */
export interface OpCase {
  readonly op: string;
  readonly name: string;
  readonly attrs: OpAttributes;
  readonly inputs: readonly (string | null)[];
  readonly output: string;
  /** Null where the operator has no gradient. */
  readonly gradOutput: string | null;
  readonly gradInputs: readonly (string | null)[];
  readonly after?: Readonly<Record<string, string>>;
  /** On the first case of a declared operator of one operand: its results at NaN, infinity, -infinity, 0 and -1. */
  readonly special?: readonly (number | string)[];
  readonly noise: {
    readonly output: number;
    readonly gradInputs: readonly (number | null)[];
    readonly after?: Readonly<Record<string, number>>;
  };
}

/** All attributes that occur; a case has those of its operator. */
export interface OpAttributes {
  readonly approximate: 'none' | 'tanh';
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly dim: number;
  readonly dim0: number;
  readonly dim1: number;
  readonly dims: readonly number[];
  readonly keepdim: boolean;
  readonly shape: Shape;
  readonly start: number;
  readonly end: number;
  readonly pad: readonly number[];
  readonly eps: number;
  readonly momentum: number;
  readonly training: boolean;
  readonly stride: number;
  readonly padding: number;
  readonly groups: number;
  readonly heads: number;
  readonly labelSmoothing: number;
  readonly alpha: number;
  readonly tau: number;
  readonly scaling: 'batchmean' | 'all';
  readonly steps: readonly {
    readonly op: string;
    readonly attrs: OpAttributes;
    /** Inputs by number, results of the steps before as -1 (the last), -2 and so on; null is an absent operand. */
    readonly operands: readonly (number | null)[];
  }[];
}

type Call = (inputs: readonly (Tensor | null)[], attrs: OpAttributes) => Tensor;

const onOne =
  (f: (x: Tensor, attrs: OpAttributes) => Tensor): Call =>
  ([x], attrs) =>
    f(x!, attrs);
const onTwo =
  (f: (a: Tensor, b: Tensor, attrs: OpAttributes) => Tensor): Call =>
  ([a, b], attrs) =>
    f(a!, b!, attrs);
const unary = (f: (x: Tensor) => Tensor): Call => onOne((x) => f(x));
const binary = (f: (a: Tensor, b: Tensor) => Tensor): Call => onTwo((a, b) => f(a, b));
const reduction = (f: (x: Tensor, dims: readonly number[], keepdim: boolean) => Tensor): Call =>
  onOne((x, { dims, keepdim }) => f(x, dims, keepdim));

/** How the operators of the cases are called here. */
const calls: Readonly<Record<string, Call>> = {
  add: binary(ops.add),
  sub: binary(ops.sub),
  mul: binary(ops.mul),
  div: binary(ops.div),
  maximum: binary(ops.maximum),
  minimum: binary(ops.minimum),
  pow: binary(ops.pow),
  gelu: onOne((x, { approximate }) => ops.gelu(x, { approximate })),
  matmul: onTwo((a, b, { transposeA, transposeB }) => ops.matmul(a, b, { transposeA, transposeB })),
  linear: ([x, weight, bias]) => ops.linear(x!, weight!, bias),
  softmax: onOne((x, { dim }) => ops.softmax(x, dim)),
  logSoftmax: onOne((x, { dim }) => ops.logSoftmax(x, dim)),
  layerNorm: ([x, weight, bias], { eps }) => ops.layerNorm(x!, weight, bias, eps),
  batchNorm: ([x, weight, bias, mean, variance], { training, momentum, eps }) =>
    ops.batchNorm(x!, weight!, bias!, mean!, variance!, { training, momentum, eps }),
  conv2d: ([x, weight, bias], { stride, padding, groups }) =>
    ops.conv2d(x!, weight!, bias, { stride, padding, groups }),
  patchEmbed: ([image, weight, bias]) => ops.patchEmbed(image!, weight!, bias!),
  globalAvgPool: unary(ops.globalAvgPool),
  sum: reduction(ops.sum),
  mean: reduction(ops.mean),
  amax: reduction(ops.amax),
  permute: onOne((x, { dims }) => ops.permute(x, dims)),
  transpose: onOne((x, { dim0, dim1 }) => ops.transpose(x, dim0, dim1)),
  reshape: onOne((x, { shape }) => ops.reshape(x, shape)),
  expand: onOne((x, { shape }) => ops.expand(x, shape)),
  slice: onOne((x, { dim, start, end }) => ops.slice(x, dim, start, end)),
  cat: (xs, { dim }) =>
    ops.cat(
      xs.map((x) => x!),
      dim,
    ),
  pad: onOne((x, { pad }) => ops.pad(x, pad)),
  crossEntropy: onTwo((logits, labels, { labelSmoothing }) => ops.crossEntropy(logits, labels, { labelSmoothing })),
  softTargetCrossEntropy: binary(ops.softTargetCrossEntropy),
  klDistillation: onTwo((student, teacher, { tau, scaling }) => ops.klDistillation(student, teacher, { tau, scaling })),
  distilledCrossEntropy: ([cls, dist, target, teacher], { alpha, labelSmoothing }) =>
    ops.distilledCrossEntropy(cls!, dist!, target!, teacher!, { alpha, labelSmoothing }).total,
  scaledDotProductAttention: onOne((qkv, { heads }) => ops.scaledDotProductAttention(qkv, heads)),
  flip: onOne((x, { dim }) => ops.flip(x, dim)),
  indexSelect: onTwo((x, index, { dim }) => ops.indexSelect(x, dim, index)),
  linearAdd: ([x, weight, bias, residual]) => ops.linearAdd(x!, weight!, bias, residual!),
  mlp: ([x, weight1, bias1, weight2, bias2, residual]) => ops.mlp(x!, weight1!, bias1, weight2!, bias2, residual),
  assembleTokens: ([patches, cls, dist, pos]) => ops.assembleTokens(patches!, cls!, dist, pos!),
  scaleChannels: binary(ops.scaleChannels),
  argmax: onOne((x, { dim }) => ops.argmax(x, dim)),
  chain: (inputs, { steps }) => {
    const results: Tensor[] = [];
    const operand = (i: number | null): Tensor | null => (i === null ? null : i < 0 ? results.at(i)! : inputs[i]);
    for (const { op, attrs, operands } of steps) results.push(callOperator(op, operands.map(operand), attrs));
    return results.at(-1)!;
  },
};

type Operator = (...operands: unknown[]) => unknown;

/** Calls an operator under its name and attributes in test/golden/README.md, or as it is declared in test/cases/operators. */
export function callOperator(op: string, inputs: readonly (Tensor | null)[], attrs: OpAttributes): Tensor {
  const declared = declarations.get(op);
  if (!declared) return calls[op](inputs, attrs);
  const names = typeof declared.inputs === 'string' ? ['x'] : Object.keys(declared.inputs);
  const values = new Map<string, unknown>([
    ...names.map((name, i) => [name, inputs[i]] as const),
    ...Object.entries(attrs),
  ]);
  const { named = [], list, pick } = declared;
  const plain = (declared.arguments ?? [...values.keys()]).filter((name) => !named.includes(name));
  // Absent operands of a list, and at the end, are left out.
  const operands = plain.map((name) => values.get(name)).filter((value) => value !== null || !declared.variadic);
  if (named.length > 0)
    operands.push({
      ...(operands.pop() as object),
      ...Object.fromEntries(named.map((name) => [name, values.get(name)])),
    });
  const given = list ? [inputs.filter((x) => x !== null), ...operands.slice(names.length)] : operands;
  const result = (ops as unknown as Record<string, Operator>)[declared.call ?? op](...given);
  const part = pick ?? values.get('pick');
  return (part === undefined ? result : (result as Record<string | number, unknown>)[part as string]) as Tensor;
}

/** Cases written down one by one, and those of declared operators. */
const FILES = ['ops', 'operators'];

/** The golden cases of every operator. */
export function goldenOpCases(): Map<string, OpCase[]> {
  const cases = new Map<string, OpCase[]>();
  for (const row of FILES.flatMap((file) => goldenJson<OpCase[]>(`${file}.json`)))
    cases.set(row.op, [...(cases.get(row.op) ?? []), row]);
  return cases;
}

/** One array that an operator made, beside what it should be. */
export interface OpResult {
  readonly case: OpCase;
  /** `output`, `gradient 1`, `runningMean`. */
  readonly what: string;
  readonly found: ArrayLike<number>;
  readonly foundShape: Shape;
  readonly expected: GoldenTensor;
  /** Norm of the error of PyTorch's own float32 result. */
  readonly noise: number;
  readonly inputs: readonly (GoldenTensor | null)[];
  /** The upstream gradient; where there is none, the result itself. */
  readonly upstream: GoldenTensor;
}

/** Runs a case forward and backward in a scope of its own. */
function runCase(engine: Engine, row: OpCase, golden: (name: string) => GoldenTensor): Promise<OpResult[]> {
  const inputs = row.inputs.map((name) => (name === null ? null : golden(name)));
  const upstream = golden(row.gradOutput ?? row.output);
  return engine.scope(() => {
    const tensors = inputs.map((input, i) => {
      if (!input) return null;
      const dtype = input.values instanceof Int32Array ? 'i32' : 'f32';
      return engine.tensor(input.values, input.shape, dtype).requiresGrad_(row.gradInputs[i] !== null);
    });
    const result = (what: string, tensor: Tensor | null, name: string, noise: number): Promise<OpResult> => {
      if (!tensor) throw new Error(`${row.op}, ${row.name}: ${what} is missing`);
      const rest = { case: row, what, foundShape: tensor.shape, expected: golden(name), noise, inputs, upstream };
      return tensor.read().then((found) => ({ ...rest, found }));
    };
    const output = callOperator(row.op, tensors, row.attrs);
    if (row.gradOutput) output.backward(engine.tensor(upstream.values, upstream.shape));
    const results = [result('output', output, row.output, row.noise.output)];
    row.gradInputs.forEach((name, i) => {
      if (name !== null) results.push(result(`gradient ${i}`, tensors[i]!.grad, name, row.noise.gradInputs[i]!));
    });
    // batchNorm moves its running statistics, operands 3 and 4, in place.
    Object.entries(row.after ?? {}).forEach(([what, name], i) => {
      results.push(result(what, tensors[3 + i], name, row.noise.after![what]));
    });
    return Promise.all(results);
  });
}

/** Runs cases on the GPU, all reads at once. */
export async function runOpCases(engine: Engine, cases: readonly OpCase[]): Promise<OpResult[]> {
  tensors ??= FILES.map((file) => goldenTensors(`${file}.safetensors`));
  const [written, declared] = tensors;
  const results = await Promise.all(
    cases.map((row) => runCase(engine, row, declarations.has(row.op) ? declared : written)),
  );
  return results.flat();
}
let tensors: ReturnType<typeof goldenTensors>[] | undefined;
