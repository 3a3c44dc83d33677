import { matrixSubgroup, squareMatrices } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { lines, range } from '../lib/unroll.ts';
import type { AttentionProblem } from './problem.ts';

/*
 * What the kernels in subgroup-matrix.ts are made of: tiles of TILE rows and TILE tokens in workgroup memory, and what a
 * subgroup does with matrices from there.
 */

/** Rows of a workgroup, and tokens that they meet at a time. */
export const TILE = 32;
/** Elements by which rows in workgroup memory are longer than they need to be. */
const F16_PADDING = 8;
const F32_PADDING = 4;
/** Elements between the rows of scores (f32) and of probabilities (f16). */
const SCORES = TILE + F32_PADDING;
const PROBABILITIES = TILE + F16_PADDING;
/** Score of a token past the end: exp of it is zero, whatever the running max. */
export const MASKED = '-1e38';

/** Elements of TILE rows of this length: the last one needs no padding. */
const elements = (length: number, padding: number): number => TILE * (length + padding) - padding;

/** Bytes of workgroup memory: both stages, scores, probabilities, and a flag. */
const bytesOf = (width: number): number =>
  2 * 2 * elements(width, F16_PADDING) + 4 * elements(TILE, F32_PADDING) + 2 * elements(TILE, F16_PADDING) + 16;

/** Whether there is workgroup memory for two operands' own rows, beside what all kernels need: else they are in registers. */
export const holdsOwn = ({ width }: AttentionProblem, device: DeviceProfile): boolean =>
  bytesOf(width) + 2 * 2 * elements(width, F16_PADDING) <= device.maxWorkgroupStorage;

/**
 * Side of the matrices for a problem, or null where this variant cannot take it: f16 tensors, and heads that are whole
 * matrices, on a device that multiplies square matrices of f16 into f32 and whose subgroups give every row of one a lane.
 */
export function matrixSide({ width, f16 }: AttentionProblem, device: DeviceProfile): number | null {
  const { maxInvocationsPerWorkgroup, maxWorkgroupStorage } = device;
  const { lanes } = matrixSubgroup(device);
  if (!f16 || lanes === 0 || bytesOf(width) > maxWorkgroupStorage) return null;
  const sides = squareMatrices(device).filter(
    (side) =>
      side % 4 === 0 &&
      [TILE, width, lanes].every((size) => size % side === 0) &&
      (lanes * TILE) / side <= maxInvocationsPerWorkgroup,
  );
  return sides.length > 0 ? Math.max(...sides) : null;
}

/** The WGSL of one kernel's parts, for heads of this width and matrices of this side. */
export class Matrices {
  /** Matrices of a row's head. */
  private readonly count: number;
  /** Lanes that mind a row, each a run of its scores. */
  readonly lanes: number;
  readonly threads: number;
  /** Vectors of a head, and elements between the tokens' rows in a stage. */
  private readonly parts: number;
  private readonly stride: number;

  constructor(
    private readonly width: number,
    private readonly side: number,
    subgroupSize: number,
  ) {
    this.count = width / side;
    this.lanes = subgroupSize / side;
    this.threads = (subgroupSize * TILE) / side;
    this.parts = width / 4;
    this.stride = width + F16_PADDING;
  }

  /** Own rows in workgroup memory: see `holdsOwn`. */
  get ownMemory(): string {
    const stage = elements(this.width, F16_PADDING);
    return `var<workgroup> first_own: array<f16, ${stage}>;\nvar<workgroup> second_own: array<f16, ${stage}>;`;
  }

  get workgroupMemory(): string {
    const stage = elements(this.width, F16_PADDING);
    return /* wgsl */ `
var<workgroup> first_stage: array<f16, ${stage}>;
var<workgroup> second_stage: array<f16, ${stage}>;
var<workgroup> scores: array<f32, ${elements(TILE, F32_PADDING)}>;
var<workgroup> probabilities: array<f16, ${elements(TILE, F16_PADDING)}>;`;
  }

  /** Where a lane works in the workgroup's tile, which begins at the row `origin`. */
  get place(): string {
    return /* wgsl */ `
// First of the subgroup's rows in the tile; then the row that this lane minds, and its place among those who do.
let block = min(subgroup, ${TILE / this.side - 1}u) * ${this.side}u;
let row_here = block + min(subgroup_lane / ${this.lanes}u, ${this.side - 1}u);
let row = origin + row_here;
let part = subgroup_lane % ${this.lanes}u;
let scores_row = row_here * ${SCORES}u;
let probabilities_row = row_here * ${PROBABILITIES}u;`;
  }

  private type(kind: 'left' | 'right' | 'result'): string {
    return `subgroup_matrix_${kind}<${kind === 'result' ? 'f32' : 'f16'}, ${this.side}, ${this.side}>`;
  }

  /** The matrix that begins at the element `at` of an array in workgroup memory; transposed if its rows are columns there. */
  private load(
    kind: 'left' | 'right' | 'result',
    array: string,
    at: string,
    stride: number,
    transposed = false,
  ): string {
    const order = transposed ? 'col_major' : 'row_major';
    return `subgroupMatrixLoad<${this.type(kind)}, ${order}>(&${array}, ${at}, ${stride}u)`;
  }

  /** TILE tokens from `base` on, past the end the last one: to each array of workgroup memory the vectors e of a head in memory. */
  loadTile(base: string, tokens: Readonly<Record<string, string>>): string {
    const loads = Object.entries(tokens).map(([array, from]) => `${this.fetch(base, from)}\n${this.put(array)}`);
    return `{\n${this.held}\n${loads.join('\n')}\n}\nworkgroupBarrier();`;
  }

  /**
   * A loop over TILE tokens at a time, from `base` on, past the end the last one. `before` has their vectors `first` in
   * first_stage, `after` also the vectors `second` in second_stage, once all invocations have met, which it begins with. Each is
   * fetched while what comes before it computes.
   */
  loop(first: string, second: string, before: string, after: string): string {
    // Loops with literal bounds: others get a 64-bit counter against endless ones.
    return /* wgsl */ `
${this.held}
${this.fetch('0u', first)}
for (var round = 0u; round < 0xffffffu; round++) {
  let base = round * ${TILE}u;
  if (base >= params.tokens) { break; }
  workgroupBarrier();
  ${this.put('first_stage')}
  workgroupBarrier();
  ${this.fetch('base', second)}
  ${before}
  ${this.put('second_stage')}
  ${this.fetch(`base + ${TILE}u`, first)}
  ${after}
}`;
  }

  /** One line for each vector of TILE tokens that an invocation passes on. */
  private pieces(line: (i: number) => string): string {
    return lines(Math.ceil((TILE * this.parts) / this.threads), line);
  }

  /** Where they wait, as words: compilers would give each f16 a register. */
  private get held(): string {
    return this.pieces((i) => `var held_${i} = vec2u();`);
  }

  private fetch(base: string, from: string): string {
    return this.pieces(
      (i) => /* wgsl */ `{
  let place = ${this.placeOf(i)};
  let token = min(${base} + place / ${this.parts}u, params.tokens - 1u);
  let e = place % ${this.parts}u;
  held_${i} = bitcast<vec2u>(vec4h(${from}));
}`,
    );
  }

  private put(array: string): string {
    return this.pieces((i) => {
      const isWhole = (i + 1) * this.threads <= TILE * this.parts;
      return /* wgsl */ `${isWhole ? '' : `if (${i * this.threads}u + lane < ${TILE * this.parts}u) `}{
  let place = ${this.placeOf(i)};
  let to = place / ${this.parts}u * ${this.stride}u + 4u * (place % ${this.parts}u);
  let vector = bitcast<vec4h>(held_${i});
  ${lines(4, (j) => `${array}[to + ${j}u] = vector[${j}];`)}
}`;
    });
  }

  /** With a bound that compilers know: no clamps, and one store of what lies together. */
  private placeOf(i: number): string {
    return `min(${i * this.threads}u + lane, ${TILE * this.parts - 1}u)`;
  }

  /** The subgroup's own rows, from a stage that holds the workgroup's: matrices `name`_0, `name`_1, ... */
  own(name: string, stage: string): string {
    return lines(this.count, (e) => `let ${name}_${e} = ${this.ownMatrix(stage, e)};`);
  }

  private ownMatrix(stage: string, e: number): string {
    return this.load('left', stage, `block * ${this.stride}u + ${e * this.side}u`, this.stride);
  }

  zeros(name: string): string {
    return lines(this.count, (e) => `var ${name}_${e} = ${this.type('result')}();`);
  }

  /**
   * scores = own rows . tokens of a stage, whatever the scores were: no lane may still need them. The rows are matrices, or in
   * the workgroup memory `first_own` or `second_own`.
   */
  scores(own: string, stage: string): string {
    const isHeld = own.endsWith('_own');
    return /* wgsl */ `
for (var c = 0u; c < ${TILE}u; c++) {
  // By a bound that they know compilers would unroll the loop, load far ahead, and spill.
  if (c >= params.matrices) { break; }
  // They see that this is in bounds, and how it is aligned, and load 16 bytes at once.
  let column = min(c, ${TILE / this.side - 1}u) * ${this.side}u;
  // With its zero: Dawn clears a variable without a value once, not each time round.
  var sum = ${this.type('result')}();
  ${lines(this.count, (e) => {
    const token = this.load('right', stage, `column * ${this.stride}u + ${e * this.side}u`, this.stride, true);
    const held = isHeld ? `let ${own}_${e} = ${this.ownMatrix(own, e)}; ` : '';
    return `${held}let token_${e} = ${token}; sum = subgroupMatrixMultiplyAccumulate(${own}_${e}, token_${e}, sum);`;
  })}
  subgroupMatrixStore<row_major>(&scores, block * ${SCORES}u + column, sum, ${SCORES}u);
}
workgroupBarrier();`;
  }

  /** sums += probabilities . tokens of a stage. */
  add(sums: string, stage: string): string {
    return /* wgsl */ `
for (var c = 0u; c < ${TILE}u; c++) {
  // By a bound that they know compilers would unroll the loop, load far ahead, and spill.
  if (c >= params.matrices) { break; }
  // They see that this is in bounds, and how it is aligned, and load 16 bytes at once.
  let column = min(c, ${TILE / this.side - 1}u) * ${this.side}u;
  let probability = ${this.load('left', 'probabilities', `block * ${PROBABILITIES}u + column`, PROBABILITIES)};
  ${lines(this.count, (e) => {
    const token = this.load('right', stage, `column * ${this.stride}u + ${e * this.side}u`, this.stride);
    return `let token_${e} = ${token}; ${sums}_${e} = subgroupMatrixMultiplyAccumulate(probability, token_${e}, ${sums}_${e});`;
  })}
}`;
  }

  /** The lane's own scores: `line` knows the number of each, its token of the tile, and its places. */
  each(line: (i: number, token: string, score: string, probability: string) => string): string {
    return lines(TILE / this.lanes, (i) => {
      const column = `part * ${TILE / this.lanes}u + ${i}u`;
      return line(
        i,
        `base + ${column}`,
        `scores[scores_row + ${column}]`,
        `probabilities[probabilities_row + ${column}]`,
      );
    });
  }

  /** x = x combined over the lanes of the row. */
  overRow(x: string, combined: (other: string) => string): string {
    const bits = range(Math.log2(this.lanes)).map((bit) => 2 ** bit);
    return bits.map((bit) => `${x} = ${combined(`subgroupShuffleXor(${x}, ${bit}u)`)};`).join(' ');
  }

  /**
   * Sums through scores, one matrix after the other: `body` knows the place of four neighbours in the lane's row, and e,
   * which vector of the head they are. Afterwards the sums are what it left there, if they are `kept`.
   */
  through(sums: string, body: string, kept = false): string {
    const at = `block * ${SCORES}u`;
    const vectors = this.side / 4;
    return lines(
      this.count,
      (matrix) => /* wgsl */ `
workgroupBarrier();
subgroupMatrixStore<row_major>(&scores, ${at}, ${sums}_${matrix}, ${SCORES}u);
workgroupBarrier();
for (var vector = part; vector < ${vectors}u; vector += ${this.lanes}u) {
  let place = scores_row + 4u * vector;
  let e = ${matrix * vectors}u + vector;
  ${body}
}
${kept ? `workgroupBarrier();\n${sums}_${matrix} = ${this.load('result', 'scores', at, SCORES)};` : ''}`,
    );
  }

  /** Stores sums: `to` is where vector e of the lane's row goes. */
  store(sums: string, to: string, times = ''): string {
    const four = range(4).map((j) => `scores[place + ${j}u]`);
    return this.through(sums, `if (row < params.tokens) { ${to} = vec4f(${four.join(', ')})${times}; }`);
  }
}
