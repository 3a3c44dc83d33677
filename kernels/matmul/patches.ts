import { lines, range } from '../lib/unroll.ts';
import type { MatmulProblem } from './problem.ts';

/*
 * WGSL of a product in tiles (lib/product-tile.ts, lib/matrix-tile.ts): how patches of 4 x 4 elements of its operands are loaded.
 * Steps of k past the end are loaded as zeros. Rows and columns past the end are others of the matrix where patches cannot
 * reach past it in part, else zeros; their sums are not stored. Where no patch reaches past an edge, nothing asks for it.
 */

/** The tiles of a kernel: rows and columns of y, steps of k in a block, and the type of what is loaded. */
export interface PatchTile {
  readonly rows: number;
  readonly columns: number;
  readonly block: number;
  readonly type: 'vec4f' | 'vec4h';
}

/** How an operand is loaded. */
export interface PatchedOperand {
  /** Name of the binding. */
  readonly name: 'a' | 'b';
  /** Vectors lie along k in memory. */
  readonly alongK: boolean;
  /** Rows and starts of rows are whole vectors, so that vectors are loaded. */
  readonly vector: boolean;
  /** Uniform: elements across (m or n). Along k they end at `k_end`. */
  readonly across: 'm' | 'n';
  /** Patches past its end are moved back to the last one. */
  readonly moved: boolean;
  /** Patches may reach past the end in part, across and along k. */
  readonly raggedAcross: boolean;
  readonly raggedK: boolean;
  readonly block: number;
  readonly type: PatchTile['type'];
}

/** What a product's sizes allow: how both operands are loaded, whether vectors are stored, and whether tiles end where y does. */
export function patchedOperands({ m, n, k, a, b, y, batch = [] }: MatmulProblem, tile: PatchTile) {
  const whole = (sizes: number[]): boolean => sizes.every((size) => size % 4 === 0);
  const { rows, columns, block, type } = tile;
  const operand = (name: 'a' | 'b', alongK: boolean, across: number, size: number): PatchedOperand => {
    const { ld, offset = 0 } = name === 'a' ? a : b;
    const isFilled = across % size === 0;
    return {
      name,
      alongK,
      vector: whole([ld, offset, alongK ? k : across, ...batch.map((axis) => axis[name])]),
      across: name === 'a' ? 'm' : 'n',
      moved: !isFilled && across % 4 === 0,
      raggedAcross: across % 4 !== 0,
      raggedK: k % block !== 0,
      block,
      type,
    };
  };
  const vectorY = whole([y.ld, y.offset ?? 0, n, ...batch.map((axis) => axis.y)]);
  return {
    a: operand('a', !a.transposed, m, rows),
    b: operand('b', b.transposed, n, columns),
    vectorY,
    wholeY: vectorY && m % rows === 0 && n % columns === 0,
  };
}

/** WGSL: what `locatePatch` sets for patch i. */
export const declarePatch = (i: number): string =>
  `var across_${i} = x_${i}; var k_${i} = step_${i}; var from_${i} = 0u; var pitch_${i} = 0u; var advance_${i} = 0u;`;

/** WGSL: where patch i of an invocation begins in the operand, how far its rows are apart, and the patch of the next block. */
export function locatePatch({ name, alongK, vector, across, moved, block }: PatchedOperand, i: number): string {
  const unit = vector ? ' / 4u' : '';
  const [outer, inner] = alongK ? [`across_${i}`, `k_${i}`] : [`k_${i}`, `across_${i}`];
  return /* wgsl */ `
    across_${i} += origin_${name};
    ${moved ? `across_${i} = min(across_${i}, params.${across} - 4u);` : ''}
    from_${i} = (at.${name} + ${outer} * params.${name}_ld + ${inner})${unit};
    pitch_${i} = params.${name}_ld${unit};
    advance_${i} = ${alongK ? `${block}u${unit}` : `${block}u * pitch_${i}`};`;
}

/**
 * WGSL: loads patch i, four rows or columns at four steps of k, into next<i>_0 to next<i>_3: in f32 one for each step, in f16 as they
 * lie (lib/matrix-tile.ts).
 */
export function loadPatch(operand: PatchedOperand, i: number): string {
  const { name, alongK, vector, across, raggedAcross, raggedK, type } = operand;
  const isTurned = alongK && type === 'vec4f';
  const scalar = type === 'vec4h' ? 'f16' : 'f32';
  const ofAcross = { at: `across_${i}`, end: `params.${across}`, isRagged: raggedAcross };
  const ofK = { at: `k_${i}`, end: 'k_end', isRagged: raggedK };
  const [outer, inner] = alongK ? [ofAcross, ofK] : [ofK, ofAcross];
  const guarded = (load: string, ...guards: { isRagged: boolean; inside: string }[]): string => {
    const asked = guards.flatMap(({ isRagged, inside }) => (isRagged ? [inside] : []));
    return asked.length === 0 ? load : `if (${asked.join(' && ')}) { ${load} }`;
  };
  const load = (j: number): string => {
    const base = `from_${i} + ${j}u * pitch_${i}`;
    const inRow = { isRagged: outer.isRagged, inside: `${outer.at} + ${j}u < ${outer.end}` };
    const inColumn = (e: number) => ({ isRagged: inner.isRagged, inside: `${inner.at} + ${e}u < ${inner.end}` });
    const to = isTurned ? `u${j}` : `next${i}_${j}`;
    if (vector) return guarded(`${to} = ${type}(${name}[${base}]);`, inRow, inColumn(0));
    const elements = range(4).map((e) => guarded(`${to}[${e}] = ${scalar}(${name}[${base} + ${e}u]);`, inColumn(e)));
    return guarded(elements.join(' '), inRow);
  };
  if (!isTurned) return `${lines(4, (j) => `next${i}_${j} = ${type}();`)} ${lines(4, load)}`;
  return /* wgsl */ `
    ${lines(4, (j) => `var u${j} = ${type}();`)}
    ${lines(4, load)}
    ${lines(4, (j) => `next${i}_${j} = ${type}(u0[${j}], u1[${j}], u2[${j}], u3[${j}]);`)}`;
}

/** WGSL: loads patch i, by `load`, and advances to that of the next block. */
export const fetchPatch = (load: string, i: number, { a, b }: Record<'a' | 'b', PatchedOperand>): string =>
  `{ ${load} }\nfrom_${i} += advance_${i}; ${a.raggedK || b.raggedK ? `k_${i} += ${a.block}u;` : ''}`;
