import { ceilDiv, foldGrid } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { bind, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Binding, Launch, Uniforms } from '../lib/kernel.ts';
import { advanceNested, nestedUniforms, startNested } from '../lib/nested-index.ts';
import type { NestedIndex } from '../lib/nested-index.ts';
import { productSchemes, useOfTiles } from '../lib/product-schemes.ts';
import type { ProductCode, Scheme, SchemeChoice } from '../lib/product-schemes.ts';
import { BUSY_INVOCATIONS, FOURS, SMALL_TILE } from '../lib/product-tile.ts';
import { lines } from '../lib/unroll.ts';
import type { Use, Variant } from '../lib/variant.ts';
import { reduce } from '../reduce/index.ts';
import { patchEmbedCost } from './problem.ts';
import type { PatchEmbedPass, PatchEmbedProblem } from './problem.ts';

/*
 * For GPUs: the formulas of index.ts as products of matrices in the tiles of lib/product-schemes.ts. Pixels of a patch never lie
 * in memory as a matrix; they are read where they lie, in vectors of four of a row. From block to block addresses advance by
 * additions. Sizes in the WGSL are in such vectors.
 */

/** Most and least patches of a part of the weight gradient: rounding errors stay small, and storing a tile takes little time. */
const MOST_PATCHES = 16384;
const LEAST_PATCHES = 256;

interface Sizes {
  readonly patches: number;
  /** Pixels of a patch in all channels, features. */
  readonly depth: number;
  readonly width: number;
}

const sizesOf = ({ batch, gridHeight, gridWidth, channels, patch, width }: PatchEmbedProblem): Sizes => ({
  patches: batch * gridHeight * gridWidth,
  depth: channels * patch ** 2,
  width,
});

/** A pass: what its product has rows, columns and steps of. */
interface Pass {
  readonly extent: (sizes: Sizes) => { readonly rows: number; readonly columns: number; readonly k: number };
  /** Whether both operands may be f16, and are. */
  readonly isF16: (problem: PatchEmbedProblem) => boolean;
  /** Whether k is cut until there is work for all of the device. */
  readonly isCut: boolean;
  readonly launches: (problem: PatchEmbedProblem, scheme: Scheme, device: DeviceProfile) => Launch[];
}

/** The variants of a pass. */
const variantsOf = ({ extent, isF16, isCut, launches }: Pass): Variant<PatchEmbedProblem>[] =>
  productSchemes.map(({ name, schemeOf }: SchemeChoice) => ({
    name,
    fits: (problem, device) => {
      const scheme = schemeOf(device);
      const isWhole = problem.patch % 4 === 0 && problem.width % 4 === 0;
      return isWhole && scheme !== null && (scheme.type === 'vec4f' || isF16(problem));
    },
    use: (problem, device): Use => {
      if (device.cpu) return 'named';
      const { rows, columns, k } = extent(sizesOf(problem));
      if (Math.min(rows, columns) <= SMALL_TILE / 2) return 'named';
      return useOfTiles(schemeOf(device)!, { rows, columns }, isCut ? ceilDiv(k, LEAST_PATCHES) : 1);
    },
    launches: (problem, device) => launches(problem, schemeOf(device)!, device),
  }));

const uniformsOf = (problem: PatchEmbedProblem): Uniforms => {
  const { channels, gridHeight, gridWidth, patch } = problem;
  const { patches, depth, width } = sizesOf(problem);
  return {
    patches: u32(patches),
    depth: u32(depth / 4),
    width: u32(width / 4),
    channels: u32(channels),
    side: u32(patch),
    columns: u32(patch / 4),
    grid_width: u32(gridWidth),
    grid_height: u32(gridHeight),
    image_row: u32((gridWidth * patch) / 4),
    plane: u32((gridHeight * patch * gridWidth * patch) / 4),
    fours: u32(FOURS),
  };
};

const functions = /* wgsl */ `
/** Where a patch begins in the image; the last one's for what is past the end. */
fn start_of(wanted: u32) -> u32 {
  let n = min(wanted, params.patches - 1u);
  let gx = n % params.grid_width;
  let gy = n / params.grid_width % params.grid_height;
  let image = n / params.grid_width / params.grid_height;
  return image * params.channels * params.plane + gy * params.side * params.image_row + gx * params.columns;
}
/** Where vector k of a patch lies from its beginning; the last one's for what is past the end. */
fn pixel_of(wanted: u32) -> u32 {
  let k = min(wanted, params.depth - 1u);
  let channel = k / params.columns / params.side;
  return channel * params.plane + k / params.columns % params.side * params.image_row + k % params.columns;
}`;

/** WGSL: the tile of a workgroup; columns vary fastest. */
const originWgsl = (tile: number): string => /* wgsl */ `
  let number = linear_workgroup(workgroup, workgroups);
  if (number >= params.workgroups) { return; }
  let origin_b = (number % params.tiles_n) * ${tile}u;
  let origin_a = (number / params.tiles_n) % params.tiles_m * ${tile}u;`;

/** WGSL: loads of patch i: vectors along k, turned in f32, or along rows or columns. `load` is vector j where `condition` of it holds. */
function loadVectors(
  { type }: Scheme,
  i: number,
  alongK: boolean,
  load: (j: number) => string,
  condition: (j: number) => string | null,
): string {
  const guarded = (j: number): string => {
    const inside = condition(j);
    const own = `u${j} = ${type}(${load(j)});`;
    return inside === null ? own : `if (${inside}) { ${own} }`;
  };
  return /* wgsl */ `
    ${lines(4, (j) => `var u${j} = ${type}();`)}
    ${lines(4, guarded)}
    ${lines(4, (j) => `next${i}_${j} = ${alongK && type === 'vec4f' ? `${type}(u0[${j}], u1[${j}], u2[${j}], u3[${j}])` : `u${j}`};`)}`;
}

/** A product of tiles of `rows` and `columns`, in parts along k. */
function product(
  problem: PatchEmbedProblem,
  scheme: Scheme,
  pass: { name: PatchEmbedPass; bindings: Binding[]; rows: number; columns: number; parts?: number },
  code: Omit<ProductCode, 'declare'>,
  uniforms: Uniforms,
  device: DeviceProfile,
): Launch {
  const [tilesM, tilesN] = [ceilDiv(pass.rows, scheme.tile), ceilDiv(pass.columns, scheme.tile)];
  const workgroups = tilesM * tilesN * (pass.parts ?? 1);
  return launch({
    name: `patch_embed.${pass.name}/${scheme.name}`,
    bindings: pass.bindings,
    enables: scheme.enables,
    uniforms: {
      ...uniformsOf(problem),
      workgroups: u32(workgroups),
      tiles_m: u32(tilesM),
      tiles_n: u32(tilesN),
      ...uniforms,
    },
    wgsl: functions + scheme.wgsl({ ...code, declare: (i) => `var from_${i} = vec4u();` }),
    grid: foldGrid(workgroups, device),
    cost: patchEmbedCost(problem, pass.name),
  });
}

const four = (element: (e: number) => string): string => `vec4u(${[0, 1, 2, 3].map(element).join(', ')})`;
const columnsWgsl = (columns: readonly string[], more: (c: number) => string): string =>
  columns.map((column, c) => `let column${c} = (origin_b + ${column}) / 4u; ${more(c)}`).join('\n  ');
const storeWgsl = (sums: ReadonlyMap<number, string>, end: string, store: (c: number, sum: string) => string): string =>
  [...sums].map(([c, sum]) => `if (column${c} < ${end}) { ${store(c, sum)} }`).join('\n      ');

/** Rows are patches, columns features; k runs over the pixels of a patch. Bindings x, w, bias, y. */
function forward(problem: PatchEmbedProblem, scheme: Scheme, device: DeviceProfile): Launch[] {
  const { tile, block } = scheme;
  const { patches, depth, width } = sizesOf(problem);
  const { patch, gridWidth, gridHeight } = problem;
  const imageRow = (gridWidth * patch) / 4;
  const pixels: NestedIndex = {
    sizes: [patch / 4, patch],
    step: block / 4,
    addresses: { pixel: [1, imageRow, imageRow * patch * gridHeight] },
  };
  const names = { names: ['column', 'line', 'channel'], addresses: ['pixel'] } as const;
  const inDepth = depth % block === 0 ? null : 'channel < params.channels';
  const code: Omit<ProductCode, 'declare'> = {
    alongK: { a: true, b: true },
    origin: /* wgsl */ `
  ${originWgsl(tile)}
  // The vector of a patch that all pieces of this invocation are at.
  var at = lane % ${block / 4}u;
  ${startNested(names, 'at')}`,
    locate: (operand, i) =>
      operand === 'a'
        ? `from_${i} = ${four((e) => `start_of(origin_a + x_${i} + ${e}u)`)};`
        : `from_${i}.x = min(origin_b + x_${i}, 4u * params.width - 4u) * params.depth;`,
    load: (operand, i) =>
      operand === 'a'
        ? loadVectors(
            scheme,
            i,
            true,
            (j) => `x[from_${i}[${j}] + pixel]`,
            () => inDepth,
          )
        : loadVectors(
            scheme,
            i,
            true,
            (j) => `w[from_${i}.x + ${j}u * params.depth + at]`,
            () => inDepth,
          ),
    fetch: (loads) => /* wgsl */ `
    ${loads.map((load) => `{ ${load} }`).join('\n    ')}
    at += ${block / 4}u;
    ${advanceNested(names)}`,
    blocks: 'params.blocks',
    place: (columns) => columnsWgsl(columns, (c) => `let bias${c} = bias[min(column${c}, params.width - 1u)];`),
    store: (row, sums) => /* wgsl */ `{
    let n = origin_a + ${row};
    if (n < params.patches) {
      ${storeWgsl(sums, 'params.width', (c, sum) => `y[n * params.width + column${c}] = ${sum} + bias${c};`)}
    }
  }`,
  };
  const bindings = [input('x', 'vec4f'), input('w', 'vec4f'), input('bias', 'vec4f'), output('y', 'vec4f')];
  const pass = { name: 'forward' as const, bindings, rows: patches, columns: width };
  const uniforms = { ...nestedUniforms(pixels), blocks: u32(ceilDiv(depth, block)) };
  return [product(problem, scheme, pass, code, uniforms, device)];
}

/** Rows are features, columns the pixels of a patch; k runs over patches, in parts. Bindings x, dy, dw. */
function weightGradient(problem: PatchEmbedProblem, scheme: Scheme, device: DeviceProfile): Launch[] {
  const { tile, threads, block } = scheme;
  const { patches, depth, width } = sizesOf(problem);
  const { channels, patch, gridWidth, gridHeight } = problem;
  const wanted = ceilDiv(2 * BUSY_INVOCATIONS, ceilDiv(width, tile) * ceilDiv(depth, tile) * threads);
  const share = Math.max(LEAST_PATCHES, ceilDiv(ceilDiv(patches, wanted), block) * block);
  const perPart = Math.min(MOST_PATCHES, share);
  const parts = ceilDiv(patches, perPart);
  const row = (gridWidth * patch) / 4;
  const starts: NestedIndex = {
    sizes: [gridWidth, gridHeight],
    step: block,
    addresses: { start: [patch / 4, row * patch, channels * row * patch * gridHeight] },
  };
  const names = { names: ['gx', 'gy', 'image'], addresses: ['start'] } as const;
  const inPatches = (j: number): string => `n[${j}] < params.patches`;
  const code: Omit<ProductCode, 'declare'> = {
    alongK: { a: false, b: false },
    origin: /* wgsl */ `
  ${originWgsl(tile)}
  let part = number / params.tiles_n / params.tiles_m;
  // The four patches that all pieces of this invocation are at.
  var n = part * params.part_patches + 4u * (lane % ${block / 4}u) + ${four((e) => `${e}u`)};
  ${startNested(names, 'n')}`,
    locate: (operand, i) =>
      operand === 'a'
        ? `from_${i}.x = min((origin_a + x_${i}) / 4u, params.width - 1u);`
        : `from_${i}.x = pixel_of((origin_b + x_${i}) / 4u);`,
    load: (operand, i) =>
      operand === 'a'
        ? loadVectors(scheme, i, false, (j) => `dy[n[${j}] * params.width + from_${i}.x]`, inPatches)
        : loadVectors(scheme, i, false, (j) => `x[start[${j}] + from_${i}.x]`, inPatches),
    fetch: (loads) => /* wgsl */ `
    ${loads.map((load) => `{ ${load} }`).join('\n    ')}
    n += vec4u(${block}u);
    ${advanceNested(names, 'vec4u')}`,
    blocks: `(min(params.part_patches, params.patches - part * params.part_patches) + ${block - 1}u) / ${block}u`,
    place: (columns) => columnsWgsl(columns, () => ''),
    store: (r, sums) => /* wgsl */ `{
    let feature = origin_a + ${r};
    if (feature < 4u * params.width) {
      let to = (part * 4u * params.width + feature) * params.depth;
      ${storeWgsl(sums, 'params.depth', (c, sum) => `partials[to + column${c}] = ${sum};`)}
    }
  }`,
  };
  const bindings = [input('x', 'vec4f'), input('dy', 'vec4f'), output('partials', 'vec4f')];
  const pass = { name: 'weight' as const, bindings, rows: width, columns: depth, parts };
  const uniforms = { ...nestedUniforms(starts), part_patches: u32(perPart) };
  const sums = [product(problem, scheme, pass, code, uniforms, device)];
  if (parts === 1) return bind(sums, { partials: 'dw' });
  const elements = width * depth;
  return [
    ...bind(sums, {}, { partials: { elements: parts * elements } }),
    ...bind(reduce({ op: 'sum', outer: 1, reduce: parts, inner: elements }, device), { x: 'partials', y: 'dw' }),
  ];
}

/** Rows are patches, columns their pixels; k runs over features. Bindings w, dy, dx. */
function imageGradient(problem: PatchEmbedProblem, scheme: Scheme, device: DeviceProfile): Launch[] {
  const { tile, block } = scheme;
  const { patches, depth, width } = sizesOf(problem);
  const inWidth = width % block === 0 ? null : 'at < params.width';
  const code: Omit<ProductCode, 'declare'> = {
    alongK: { a: true, b: false },
    origin: /* wgsl */ `
  ${originWgsl(tile)}
  // The vector of features that all pieces of this invocation are at.
  var at = lane % ${block / 4}u;`,
    locate: (operand, i) =>
      operand === 'a'
        ? `from_${i} = min(vec4u(origin_a + x_${i}) + ${four((e) => `${e}u`)}, vec4u(params.patches - 1u)) * params.width;`
        : `from_${i}.x = min((origin_b + x_${i}) / 4u, params.depth - 1u);`,
    load: (operand, i) =>
      operand === 'a'
        ? loadVectors(
            scheme,
            i,
            true,
            (j) => `dy[from_${i}[${j}] + at]`,
            () => inWidth,
          )
        : loadVectors(
            scheme,
            i,
            false,
            (j) => `w[(4u * at + ${j}u) * params.depth + from_${i}.x]`,
            () => inWidth,
          ),
    fetch: (loads) => /* wgsl */ `
    ${loads.map((load) => `{ ${load} }`).join('\n    ')}
    at += ${block / 4}u;`,
    blocks: 'params.blocks',
    place: (columns) => columnsWgsl(columns, (c) => `let pixel${c} = pixel_of(column${c});`),
    store: (row, sums) => /* wgsl */ `{
    let n = origin_a + ${row};
    if (n < params.patches) {
      let start = start_of(n);
      ${storeWgsl(sums, 'params.depth', (c, sum) => `dx[start + pixel${c}] = ${sum};`)}
    }
  }`,
  };
  const bindings = [input('w', 'vec4f'), input('dy', 'vec4f'), output('dx', 'vec4f')];
  const pass = { name: 'image' as const, bindings, rows: patches, columns: depth };
  return [product(problem, scheme, pass, code, { blocks: u32(ceilDiv(width, block)) }, device)];
}

export const forwardProducts = variantsOf({
  extent: ({ patches, width, depth }) => ({ rows: patches, columns: width, k: depth }),
  isF16: ({ f16 = [] }) => f16.includes('x') && f16.includes('w'),
  isCut: false,
  launches: forward,
});
export const weightProducts = variantsOf({
  extent: ({ patches, width, depth }) => ({ rows: width, columns: depth, k: patches }),
  isF16: ({ f16 = [] }) => f16.includes('x') && f16.includes('dy'),
  isCut: true,
  launches: weightGradient,
});
export const imageProducts = variantsOf({
  extent: ({ patches, width, depth }) => ({ rows: patches, columns: depth, k: width }),
  isF16: ({ f16 = [] }) => f16.includes('w') && f16.includes('dy'),
  isCut: false,
  launches: imageGradient,
});
