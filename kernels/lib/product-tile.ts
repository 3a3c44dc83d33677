import { ceilDiv } from './device.ts';
import { lines, range } from './unroll.ts';

/*
 * A square tile of a product of two matrices, a [rows, k] by b [k, columns], on a GPU: a workgroup computes it, each invocation
 * 8 x 8 elements of it in registers. Blocks of BLOCK_K steps of k pass through workgroup memory, in two buffers: the loads of
 * the next block are under way while this one is multiplied, and there is one barrier a block.
 *
 * Both operands are loaded as patches of 4 x 4, four vectors an invocation, transposed in registers where they lie along k,
 * so that workgroup memory always holds [k][row or column] in vectors. A patch's column is exchanged (exclusive or with
 * 2 * its k / 4), so that the invocations of a subgroup write to different banks. How a patch is loaded, from a matrix
 * (matmul/workgroup.ts) or gathered from images (conv2d/implicit-product.ts), is the kernel's own.
 *
 * Its form is what compilers make short loops of (`npm run bench -- --isa matmul/workgroup`): patches and sums are variables
 * with names, indices of workgroup memory are bounded by `min`, which costs one instruction where WebGPU's own clamp costs
 * one an access, and loops have literal bounds and leave by `break`: others get a 64-bit counter against endless ones.
 */

/** Steps of k that pass through workgroup memory together. */
export const BLOCK_K = 16;
/** Vectors of that, which kernels pass on as `params.fours`: as a constant it unrolls all of a block, which takes compilers long and gains nothing. */
export const FOURS = BLOCK_K / 4;
/** Elements a side of what one invocation computes: two vectors each way, half a tile apart. */
const MICRO = 8;
export const LARGE_TILE = 128;
export const SMALL_TILE = 64;
/** Invocations that keep a large GPU busy: two waves of 32 for each of its 500 schedulers. With fewer, smaller tiles are taken. */
export const BUSY_INVOCATIONS = 32_000;

export type TileSize = Readonly<Record<'rows' | 'columns', number>>;
export const square = (side: number): TileSize => ({ rows: side, columns: side });

/** Part of its work that a larger tile may lose to what lies past the edges, where a smaller one would not. */
const WASTE = 1 / 8;

/** Whether larger tiles compute little more of a result than smaller ones do, what lies past the edges included. */
export function fills(result: TileSize, large: TileSize, small: TileSize): boolean {
  const along = (tile: TileSize, side: keyof TileSize): number => ceilDiv(result[side], tile[side]) * tile[side];
  const computed = (tile: TileSize): number => along(tile, 'rows') * along(tile, 'columns');
  return computed(large) <= (1 + WASTE) * computed(small);
}

/** Of a tile. */
export const invocations = (tile: number): number => (tile / MICRO) ** 2;

/** Bytes of workgroup memory. */
export const tileBytes = (tile: number): number => 2 * 2 * BLOCK_K * tile * 4;

/** Patches of one operand in a block. */
const patchesOf = (tile: number): number => (tile / 4) * FOURS;

/** Numbers of the patches that an invocation passes on from block to block, of both operands together. */
export const pieces = (tile: number): number[] => range((2 * patchesOf(tile)) / invocations(tile));

/** WGSL: what is said of piece i, of the operand that it is of. */
export function ofOperand(tile: number, i: number, what: (operand: 'a' | 'b') => string): string {
  const threads = invocations(tile);
  if ((i + 1) * threads <= patchesOf(tile)) return what('a');
  if (i * threads >= patchesOf(tile)) return what('b');
  return `if (is_a_${i}) { ${what('a')} } else { ${what('b')} }`;
}

/** WGSL of a module: two buffers, each a's block and then b's, in parts of four steps of k. */
export const stageWgsl = (tile: number): string => `var<workgroup> stage: array<array<vec4f, ${tile}>, ${4 * FOURS}>;`;

/**
 * WGSL, where `lane` is the invocation: its place in the tile (`across`, `down`), its sums, and of each of its patches the first
 * row or column (`x_<i>`) and step of k (`step_<i>`) within the tile and block, and `next<i>_0` to `next<i>_3`, one for each step,
 * which are to be loaded.
 */
export const placesWgsl = (tile: number): string => /* wgsl */ `
  let across = lane % ${tile / MICRO}u;
  let down = lane / ${tile / MICRO}u;
  ${pieces(tile)
    .map(
      (i) => /* wgsl */ `
  let is_a_${i} = ${i * invocations(tile)}u + lane < ${patchesOf(tile)}u;
  let patch_${i} = (${i * invocations(tile)}u + lane) % ${patchesOf(tile)}u;
  let x_${i} = 4u * (patch_${i} / ${FOURS}u);
  let step_${i} = 4u * (patch_${i} % ${FOURS}u);
  let to_${i} = select(${FOURS}u, 0u, is_a_${i}) + patch_${i} % ${FOURS}u;
  let cell_${i} = min((patch_${i} / ${FOURS}u) ^ (2u * (patch_${i} % ${FOURS}u)), ${tile / 4 - 1}u);
  ${lines(4, (j) => `var next${i}_${j} = vec4f();`)}`,
    )
    .join('\n')}
  ${lines(2 * MICRO, (i) => `var sum${i} = vec4f();`)}`;

/** Sums of a's rows beside the product. */
export interface RowSums {
  /** WGSL: whether a workgroup takes them. */
  readonly when: string;
  /** WGSL: writes one, of a row of the tile; rows past the end come too. */
  readonly store: (row: string, sum: string) => string;
}

/** How many pieces, the first ones, have patches of a. */
const piecesOfA = (tile: number): number => ceilDiv(patchesOf(tile), invocations(tile));

/** WGSL: the patches to workgroup memory. */
function putWgsl(tile: number, buffer: string, rowSums: RowSums | null): string {
  const stores = pieces(tile).flatMap((i) =>
    range(4).map((j) => {
      const part = `min(${2 * FOURS}u * ${buffer} + to_${i}, ${4 * FOURS - 1}u)`;
      return `stage[${part}][cell_${i} + ${(j * tile) / 4}u] = next${i}_${j};`;
    }),
  );
  // Patches of b, which some invocations have in these pieces, are added in vain.
  const add = (i: number): string => `rows_${i} += (next${i}_0 + next${i}_1) + (next${i}_2 + next${i}_3);`;
  if (rowSums) stores.push(`if (${rowSums.when}) { ${lines(piecesOfA(tile), add)} }`);
  return stores.join('\n');
}

/** WGSL: adds up what invocations have of the same rows, through workgroup memory. */
const rowSumsWgsl = (tile: number, { when, store }: RowSums): string => /* wgsl */ `
  if (${when}) {
    workgroupBarrier();
    ${lines(
      piecesOfA(tile),
      (i) => `if (is_a_${i}) { stage[patch_${i} % ${FOURS}u][patch_${i} / ${FOURS}u] = rows_${i}; }`,
    )}
    workgroupBarrier();
    if (lane < ${tile / 4}u) {
      let sums = ${range(FOURS)
        .map((four) => `stage[${four}][lane]`)
        .join(' + ')};
      ${lines(4, (e) => store(`(4u * lane + ${e}u)`, `sums[${e}]`))}
    }
  }`;

/** One step of k: two vectors of a column of a by two of a row of b. */
function multiply(tile: number, step: number): string {
  const side = tile / MICRO;
  const at = (step * tile) / 4;
  const row = (half: number, r: number): string =>
    [0, 1]
      .map((c) => {
        const sum = `sum${8 * half + 2 * r + c}`;
        return `${sum} = fma(vec4f(a${half}[${r}]), b${c}, ${sum});`;
      })
      .join(' ');
  return /* wgsl */ `{
      let a0 = stage[of_a][cell_a + ${at}u];
      let a1 = stage[of_a][cell_a + ${at + side}u];
      let b0 = stage[of_b][cell_b + ${at}u];
      let b1 = stage[of_b][cell_b + ${at + side}u];
      ${[0, 1].flatMap((half) => range(4).map((r) => row(half, r))).join('\n      ')}
      }`;
}

/** WGSL: the sums over `blocks` blocks of k; `fetch` loads the next one's patches. And those of a's rows, if wanted. */
export function sumsWgsl(tile: number, blocks: string, fetch: string, rowSums: RowSums | null = null): string {
  const side = tile / MICRO;
  return /* wgsl */ `
  let fours = params.fours;
  let blocks = ${blocks};
  ${rowSums ? lines(piecesOfA(tile), (i) => `var rows_${i} = vec4f();`) : ''}
  ${fetch}
  ${putWgsl(tile, '0u', rowSums)}
  workgroupBarrier();
  for (var block = 0u; block < 0xffffffffu; block++) {
    if (block >= blocks) { break; }
    let more = block + 1u < blocks;
    if (more) {
      ${fetch}
    }
    let buffer = block % 2u;
    for (var four = 0u; four < 16u; four++) {
      if (four >= fours) { break; }
      let of_a = min(${2 * FOURS}u * buffer + four, ${4 * FOURS - 1}u);
      let of_b = min(${2 * FOURS}u * buffer + ${FOURS}u + four, ${4 * FOURS - 1}u);
      let cell_a = min(down ^ (2u * four), ${side - 1}u);
      let cell_b = min(across ^ (2u * four), ${side - 1}u);
${lines(4, (step) => multiply(tile, step))}
    }
    if (more) {
      ${putWgsl(tile, '(1u - buffer)', rowSums)}
      workgroupBarrier();
    }
  }
  ${rowSums ? rowSumsWgsl(tile, rowSums) : ''}`;
}

/** A vector of four columns of a row of the result, in an invocation's registers. */
export interface ResultVector {
  /** WGSL: the sum, its row in the tile, and its first column. */
  readonly sum: string;
  readonly row: string;
  readonly column: string;
}

/** Rows of an invocation, and the two vectors of each. */
export const resultRows = (tile: number): { readonly row: string; readonly vectors: readonly ResultVector[] }[] =>
  range(MICRO).map((r) => {
    const row = `(${Math.floor(r / 4) * (tile / 2) + (r % 4)}u + 4u * down)`;
    const vectors = [0, 1].map((c) => ({ sum: `sum${2 * r + c}`, row, column: `(${(c * tile) / 2}u + 4u * across)` }));
    return { row, vectors };
  });
