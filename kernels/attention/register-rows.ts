import { lines, range } from '../lib/unroll.ts';
import type { HeadVectors } from './problem.ts';

/** Rows and invocations of a workgroup. */
export const ROWS = 64;
/** The score of what lies past the last token: exp of it is zero. */
export const MASKED = '-1e38';

/** Lanes that share their rows, and rows that each of them has a part of. */
export type Shared = 1 | 2;

/**
 * The lanes of a pair have their two rows, and the even or the odd vectors of a head: neighbours, so that they are not in the
 * same banks. Nothing is assumed of how subgroups are laid over a workgroup. min() tells compilers what half is.
 */
export const PAIR = /* wgsl */ `
let other = subgroupShuffleXor(lane, 1u);
let place_0 = min(lane, other);
let place_1 = max(lane, other);
let half = min(u32(lane == place_1), 1u);`;

/** WGSL of what an invocation does with its rows and the tokens that they meet. */
export class RegisterRows {
  /** Vectors of a head that an invocation has. */
  private readonly own: number;

  constructor(
    private readonly head: HeadVectors,
    private readonly shared: Shared,
    private readonly together: number,
    private readonly staged: number,
  ) {
    this.own = head.parts / shared;
  }

  /** One line for each row. */
  rows(line: (r: number) => string): string {
    return lines(this.shared, line);
  }

  /** One line for each row and each of the tokens that are met together; x_`id` is a value of the two. */
  each(line: (id: string, r: number, j: number) => string): string {
    return this.rows((r) => lines(this.together, (j) => line(`${r}_${j}`, r, j)));
  }

  /** One line for each of the tokens that are met together. */
  tokens(line: (j: number) => string): string {
    return lines(this.together, line);
  }

  /** The names `x`_r_0, `x`_r_1, ..., joined. */
  joined(x: string, r: number, by: string): string {
    return range(this.together)
      .map((j) => `${x}_${r}_${j}`)
      .join(by);
  }

  /** One line for each vector of an invocation's part of row r; `e` is its place in the head. */
  vectors(line: (i: number, e: string) => string): string {
    return lines(this.own, (i) => line(i, this.place(i)));
  }

  private place(i: number): string {
    return this.shared === 2 ? `${2 * i}u + half` : `${i}u`;
  }

  load(own: string, from: (r: number) => string, times = ''): string {
    return this.rows((r) => this.vectors((i, e) => `let ${own}_${r}_${i} = ${from(r)} + ${e}]${times};`));
  }

  zeros(own: string): string {
    return this.rows((r) => this.vectors((i) => `var ${own}_${r}_${i} = ${this.head.element}();`));
  }

  store(to: (r: number) => string, own: string, times: (r: number) => string = () => ''): string {
    return this.rows(
      (r) =>
        `if (wanted_${r} < params.tokens) {\n${this.vectors((i, e) => `${to(r)} + ${e}] = ${own}_${r}_${i}${times(r)};`)}\n}`,
    );
  }

  /** The sum over the lanes that share a row. */
  private sum(x: string): string {
    return this.shared === 2 ? `${x} + subgroupShuffleXor(${x}, 1u)` : x;
  }

  /**
   * A loop over all tokens, `first` and `second` being their vectors e in memory; `body` meets tokens `token`, `token` + 1, ...
   * of which those that are not there are to be masked.
   */
  loop(first: string, second: string, body: string): string {
    const { together, staged } = this;
    const { parts } = this.head;
    const rounds = Math.ceil((staged * parts) / ROWS);
    const isWhole = (staged * parts) % ROWS === 0;
    const slot = isWhole ? 'slot' : `min(slot, ${staged - 1}u)`;
    // Loops with literal bounds: others get a 64-bit counter against endless ones.
    return /* wgsl */ `
let tokens = params.tokens;
for (var round = 0u; round < 0xffffffu; round++) {
  let base = round * ${staged}u;
  if (base >= tokens) { break; }
  workgroupBarrier();
  for (var i = 0u; i < ${rounds}u; i++) {
    let e = (i * ${ROWS}u + lane) % ${parts}u;
    let slot = (i * ${ROWS}u + lane) / ${parts}u;
    ${isWhole ? '' : `if (slot >= ${staged}u) { break; }`}
    let staged_token = min(base + slot, tokens - 1u);
    first_stage[${slot}][e] = ${first};
    second_stage[${slot}][e] = ${second};
  }
  workgroupBarrier();
  for (var group = 0u; group < ${staged / together}u; group++) {
    let token = base + group * ${together}u;
    if (token >= tokens) { break; }
    let here = min(group * ${together}u, ${staged - together}u);
    let again = min(group * ${together}u + params.unknown_zero, ${staged - together}u);
    ${body}
  }
}`;
  }

  /** let `into`_r_j = own row r . token j of the stage */
  dots(into: string, own: string, stage: string): string {
    return this.tokens(
      (j) => /* wgsl */ `
${this.rows((r) => `var ${into}_${r}_${j} = 0.0;`)}
{
${this.products(
  own,
  (i, e) => `let vector_${i} = ${stage}[here + ${j}u][${e}];`,
  (i) => `vector_${i}`,
)}
${this.rows((r) => `${into}_${r}_${j} = total_${r};`)}
}`,
    );
  }

  /** let `into`_r = own row r . another row in memory, to the bit what `dots` makes of the same. */
  rowDots(into: string, own: string, from: (r: number) => string): string {
    return /* wgsl */ `
${this.rows((r) => `var ${into}_${r} = 0.0;`)}
{
${this.products(
  own,
  (i, e) => this.rows((r) => `let vector_${i}_${r} = ${from(r)} + ${e}];`),
  (i, r) => `vector_${i}_${r}`,
)}
${this.rows((r) => `${into}_${r} = total_${r};`)}
}`;
  }

  /**
   * let total_r = own row r . the vectors that `load` declares by these names: four sums that do not wait for each other, or two of each row. The
   * order is always the same: where one token has all the attention, dp - delta is then 0, and with it the gradient of
   * scores, however large these are.
   */
  private products(
    own: string,
    load: (i: number, e: string) => string,
    vector: (i: number, r: number) => string,
  ): string {
    const { lanes } = this.head;
    const chains = lanes === 1 ? [''] : this.shared === 2 ? ['.xy', '.zw'] : ['.xyzw'];
    const total = (sum: string): string =>
      ({ 1: sum, 2: `${sum}.x + ${sum}.y`, 4: `(${sum}.x + ${sum}.y) + (${sum}.z + ${sum}.w)` })[
        lanes / chains.length
      ]!;
    const sums = this.vectors((i, e) => {
      const terms = chains.flatMap((chain, c) =>
        range(this.shared).map((r) =>
          i + c === 0
            ? `var sum_${r} = ${own}_${r}_0${chain} * ${vector(0, r)}${chain};`
            : `sum_${r} = fma(${own}_${r}_${i}${chain}, ${vector(i, r)}${chain}, sum_${r});`,
        ),
      );
      return `${load(i, e)}\n${terms.join('\n')}`;
    });
    return /* wgsl */ `
${sums}
${this.rows((r) => `let part_${r} = ${total(`sum_${r}`)}; let total_${r} = ${this.sum(`part_${r}`)};`)}`;
  }

  /** Scores of what lies past the last token become ones that count for nothing. */
  mask(scores: string): string {
    return this.each((id, _r, j) =>
      j === 0 ? '' : `${scores}_${id} = select(${MASKED}, ${scores}_${id}, token + ${j}u < tokens);`,
    );
  }

  /** own row r += sum of `factor`_r_j * token j of the stage */
  add(own: string, factor: string, stage: string): string {
    const { element } = this.head;
    return this.tokens((j) =>
      this.vectors((i, e) => {
        const sums = this.rows(
          (r) => `${own}_${r}_${i} = fma(${element}(${factor}_${r}_${j}), vector, ${own}_${r}_${i});`,
        );
        return `{ let vector = ${stage}[again + ${j}u][${e}]; ${sums} }`;
      }),
    );
  }
}
