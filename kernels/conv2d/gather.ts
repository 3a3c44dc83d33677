import { lines, range } from '../lib/unroll.ts';
import type { ConvProduct } from './image-product.ts';
import { storeEnded } from './problem.ts';

/*
 * WGSL of an implicit product (implicit-product.ts): how patches of 4 x 4 weights and pixels are loaded, those of an operand's
 * next block after another's, and where results are stored.
 */

/** How an operand is loaded. */
export interface Loads {
  /** Vectors of weights lie along k, else along rows. */
  readonly alongK: boolean;
  /** Vectors of pixels lie in the source as in the target. */
  readonly dense: boolean;
  /** Steps of k that pass through workgroup memory together; the depth is no whole number of them. */
  readonly block: number;
  readonly ragged: boolean;
  /** Of what is loaded. Halves stay as they lie (lib/matrix-tile.ts). */
  readonly type: 'vec4f' | 'vec4h';
}

/** WGSL: loads of patch i where `condition` holds; it is left out where nothing can be past the end. */
const guarded = (condition: string | null, loads: string): string =>
  condition === null ? loads : `if (${condition}) { ${loads} }`;

/** WGSL: where patch i of the weights begins. Rows past the end are others of the group, whose sums are not stored. */
export const locateWeights = ({ alongK }: Loads, i: number): string => {
  const row = `min(origin_a + x_${i}, params.rows - 4u)`;
  const at = alongK ? `${row} * params.weight_ld + step_${i}` : `step_${i} * params.weight_ld + ${row}`;
  return `from_${i}.x = (group * params.weight_group + ${at}) / 4u; advance_${i} = params.next_weights;`;
};

export function loadWeights({ alongK, block, ragged, type }: Loads, i: number): string {
  const load = (j: number): string => `${type}(weight[from_${i}.x + ${j}u * params.weight_pitch])`;
  const inside = ragged ? `of_tap * ${block}u + step_${i} < params.depth` : null;
  if (!alongK || type === 'vec4h') {
    return `${lines(4, (j) => `next${i}_${j} = ${type}();`)} ${guarded(
      inside,
      lines(4, (j) => `next${i}_${j} = ${load(j)};`),
    )}`;
  }
  return /* wgsl */ `
    ${lines(4, (j) => `var u${j} = ${type}();`)}
    ${guarded(
      inside,
      lines(4, (j) => `u${j} = ${load(j)};`),
    )}
    ${lines(4, (j) => `next${i}_${j} = ${type}(u0[${j}], u1[${j}], u2[${j}], u3[${j}]);`)}`;
}

/** WGSL: where patch i of the pixels begins. Positions past the end are the last ones, whose sums are not stored. */
export const locatePixels = ({ dense }: Loads, i: number): string =>
  dense
    ? /* wgsl */ `
    let position = min(origin_b + x_${i}, params.positions - 4u);
    let channel = (position / params.pixels) * source_channels + group * params.depth + step_${i};
    from_${i}.x = (channel * params.source_plane + position % params.pixels) / 4u;
    advance_${i} = params.next_block;`
    : /* wgsl */ `
    let position = min(vec4u(origin_b + x_${i}) + vec4u(0u, 1u, 2u, 3u), vec4u(params.positions - 1u));
    let pixel = position % params.pixels;
    y_${i} = vec4i(pixel / params.pixel_width) * params.source_step + params.origin_y;
    at_${i} = vec4i(pixel % params.pixel_width) * params.source_step + params.origin_x;
    let channel = (position / params.pixels) * source_channels + group * params.depth + step_${i};
    from_${i} = channel * params.source_plane + vec4u(y_${i} * params.source_width + at_${i});`;

export function loadPixels(source: string, { dense, block, ragged, type }: Loads, i: number): string {
  const scalar = type === 'vec4h' ? 'f16' : 'f32';
  const inDepth = `of_tap * ${block}u + step_${i} < params.depth`;
  if (dense) {
    const loads = lines(4, (j) => `next${i}_${j} = ${type}(${source}[from_${i}.x + ${j}u * params.source_pitch]);`);
    return ragged ? `${lines(4, (j) => `next${i}_${j} = ${type}();`)} ${guarded(inDepth, loads)}` : loads;
  }
  const column = (e: number): string => {
    const loads = range(4).map(
      (j) => `next${i}_${j}[${e}] = ${scalar}(${source}[from_${i}[${e}] + ${j}u * params.source_plane]);`,
    );
    return `if (inside_${i}[${e}]${ragged ? ` && ${inDepth}` : ''}) { ${loads.join(' ')} }`;
  };
  return /* wgsl */ `
    if (of_tap == 0u) {
      let row = vec4u(y_${i} + tap_y * params.direction);
      let column = vec4u(at_${i} + tap_x * params.direction);
      inside_${i} = (row < vec4u(params.source_height)) & (column < vec4u(u32(params.source_width)));
    }
    ${lines(4, (j) => `next${i}_${j} = ${type}();`)}
    ${lines(4, column)}
    advance_${i} = next_pixels;`;
}

/** WGSL: what the addresses of patch i are kept in. */
export const declarePatch = (i: number): string =>
  `var from_${i} = vec4u(); var advance_${i} = 0u; var y_${i} = vec4i(); var at_${i} = vec4i(); var inside_${i} = vec4<bool>();`;

/** WGSL: the loads of a block, and on to the next one: perhaps the first of the next tap, or of the next row of taps. */
export const fetchBlock = ({ dense }: Loads, loads: readonly string[]): string => /* wgsl */ `
    ${
      dense
        ? ''
        : /* wgsl */ `
    let ends_tap = of_tap + 1u == params.blocks_of_tap;
    let ends_row = tap_x + 1 == params.taps_x;
    let next_pixels = select(params.next_block, u32(select(params.next_tap, params.next_row, ends_row)), ends_tap);`
    }
    ${loads.map((load, i) => `{ ${load} } from_${i} += vec4u(advance_${i});`).join('\n    ')}
    of_tap++;
    if (of_tap == params.blocks_of_tap) {
      of_tap = 0u;
      tap_x++;
      if (tap_x == params.taps_x) { tap_x = 0; tap_y++; }
    }`;

/** WGSL: the group and the tile of a workgroup, and where its blocks begin. */
export const originWgsl = (tile: number): string => /* wgsl */ `
  let number = linear_workgroup(workgroup, workgroups);
  if (number >= params.workgroups) { return; }
  // Rows vary fastest, so that neighbouring workgroups read the same pixels.
  let origin_a = (number % params.tiles_m) * ${tile}u;
  let group = (number / params.tiles_m) % params.groups;
  let origin_b = (number / params.tiles_m / params.groups) * ${tile}u;
  let source_channels = params.groups * params.depth;
  var of_tap = 0u;
  var tap_x = 0;
  var tap_y = 0;`;

/** WGSL: where the target has vectors of four columns of the tile, numbered, each with its first column. */
export const placeResults = (dense: boolean, columns: readonly string[]): string => /* wgsl */ `
  let target_channels = params.groups * params.rows;
  ${columns
    .map((column, c) =>
      dense
        ? /* wgsl */ `
  let position${c} = origin_b + ${column};
  let place${c} = ((position${c} / params.pixels) * target_channels * params.target_plane + position${c} % params.pixels) / 4u;`
        : /* wgsl */ `
  let position${c} = vec4u(origin_b + ${column}) + vec4u(0u, 1u, 2u, 3u);
  let pixel${c} = position${c} % params.pixels;
  let place${c} = (position${c} / params.pixels) * target_channels * params.target_plane +
    ((pixel${c} / params.pixel_width) * params.phase_step + params.phase_y) * params.target_width +
    (pixel${c} % params.pixel_width) * params.phase_step + params.phase_x;`,
    )
    .join('\n')}`;

/** WGSL: stores vectors of row `row` of the tile, by their numbers: whole, or one by one. */
export function storeRow(p: ConvProduct, dense: boolean, row: string, sums: ReadonlyMap<number, string>): string {
  const { target } = p.names;
  const stored = (sum: string, c: number): string => {
    const value = p.bias ? `(${sum} + bias[channel])` : sum;
    if (dense) {
      return `if (position${c} < params.positions) { ${storeEnded(p, target, `place${c} + to / 4u`, value, 'vec4f')} }`;
    }
    const store = (e: number): string => storeEnded(p, target, `place${c}[${e}] + to`, `${value}[${e}]`, 'f32');
    return lines(4, (e) => `if (position${c}[${e}] < params.positions) { ${store(e)} }`);
  };
  return /* wgsl */ `{
    let target_row = origin_a + ${row};
    if (target_row < params.rows) {
      let channel = group * params.rows + target_row;
      let to = channel * params.target_plane;
      ${[...sums].map(([c, sum]) => stored(sum, c)).join('\n      ')}
    }
  }`;
}
