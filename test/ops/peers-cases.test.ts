/** Cases of other projects' operator tests, as data: ../peers-cases/README.md. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DeitError } from '../../engine/index.ts';
import type { Engine, Shape } from '../../engine/index.ts';
import { useEngine } from '../support/engine.ts';
import { callOperator } from '../support/golden-ops.ts';
import type { OpAttributes } from '../support/golden-ops.ts';

/** JSON has no NaN and no infinity: they are strings. */
type Numbers = readonly (number | string)[];

interface PeerCase {
  /** The file and the name of the test. */
  readonly source: string;
  readonly name: string;
  readonly op: string;
  readonly attrs: OpAttributes;
  readonly inputs: readonly { readonly shape: Shape; readonly values: Numbers; readonly dtype?: 'i32' }[];
  /** The input whose gradient is expected, if it is not the output; upstream is ones where absent. */
  readonly gradientOf?: number;
  readonly upstream?: Numbers;
  readonly shape: Shape;
  readonly expected: Numbers;
}

/** What TensorFlow.js's own tests allow in float32, absolutely. */
const EPSILON = 1e-3;

/** Where TensorFlow.js and PyTorch differ, PyTorch is followed. */
const chosen: readonly { readonly reason: string; readonly concerns: (row: PeerCase) => boolean }[] = [
  {
    reason: 'operands that tie share the gradient, in TensorFlow.js each has all or one has all of it',
    concerns: ({ op, gradientOf }) => ['maximum', 'minimum', 'amax'].includes(op) && gradientOf !== undefined,
  },
  { reason: 'NaN is the largest element, TensorFlow.js skips it', concerns: ({ op }) => op === 'argmax' },
  {
    reason: 'a product of empty matrices is an error',
    concerns: ({ op, inputs }) => op === 'matmul' && inputs.some(({ shape }) => shape.includes(0)),
  },
];

const file = new URL('../peers-cases/tfjs.json', import.meta.url);
const cases = JSON.parse(readFileSync(file, 'utf8')) as PeerCase[];
const engine = useEngine();

async function run(gpu: Engine, { op, attrs, inputs, gradientOf, upstream }: PeerCase) {
  const { shape, values } = gpu.scope(() => {
    const tensors = inputs.map(({ shape, values, dtype }, i) =>
      gpu.tensor(values.map(Number), shape, dtype).requiresGrad_(i === gradientOf),
    );
    const output = callOperator(op, tensors, attrs);
    if (gradientOf === undefined) return { shape: output.shape, values: output.read() };
    output.backward(upstream ? gpu.tensor(upstream.map(Number), output.shape) : gpu.full(output.shape, 1));
    const gradient = tensors[gradientOf].grad!;
    return { shape: gradient.shape, values: gradient.read() };
  });
  return { shape, values: await values };
}

/** What is wrong, or null. */
async function problemOf(gpu: Engine, row: PeerCase): Promise<string | null> {
  try {
    const { shape, values } = await run(gpu, row);
    if (shape.join() !== row.shape.join()) return `shape ${shape.join()}, not ${row.shape.join()}`;
    const expected = row.expected.map(Number);
    const wrong = expected.findIndex(
      (value, i) => !Object.is(value, values[i]) && !(Math.abs(value - values[i]) <= EPSILON),
    );
    return wrong < 0 ? null : `element ${wrong} is ${values[wrong]}, not ${expected[wrong]}`;
  } catch (error) {
    if (error instanceof DeitError) return error.message;
    throw error;
  }
}

describe("TensorFlow.js's cases", () => {
  it('hold, but for what follows PyTorch by choice', async () => {
    const problems = await Promise.all(cases.map((row) => problemOf(engine(), row)));
    const failed = cases.flatMap((row, i) => (problems[i] === null ? [] : [{ row, problem: problems[i] }]));
    const unexplained = failed.filter(({ row }) => !chosen.some(({ concerns }) => concerns(row)));
    expect(unexplained.map(({ row, problem }) => `${row.source}, ${row.name} (${row.op}): ${problem}`)).toEqual([]);
    // The README names these numbers.
    expect([cases.length, failed.length]).toEqual([513, 16]);
    const counts = chosen.map(({ concerns }) => failed.filter(({ row }) => concerns(row)).length);
    expect(counts).toEqual([13, 1, 2]);
  });

  it('are of more than twenty operators', () => {
    const operators = cases.flatMap(({ op, attrs }) => (op === 'chain' ? attrs.steps.map((step) => step.op) : [op]));
    expect(new Set(operators).size).toBeGreaterThan(20);
  });
});
