import { convOutput, f16Bindings, imageBytes } from './problem.ts';
import type { ConvProblem } from './problem.ts';
import { ceilDiv, foldGrid } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { bind, i32, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { advanceNested, nestedUniforms, startNested } from '../lib/nested-index.ts';
import type { NestedIndex, Strides } from '../lib/nested-index.ts';
import { productSchemes, useOfTiles } from '../lib/product-schemes.ts';
import type { ProductCode, Scheme, SchemeChoice } from '../lib/product-schemes.ts';
import { BUSY_INVOCATIONS, FOURS, SMALL_TILE } from '../lib/product-tile.ts';
import { lines, range } from '../lib/unroll.ts';
import type { Variant } from '../lib/variant.ts';
import { LONGEST_SUM, cutImages, total } from './weight-chunks.ts';
import type { Part } from './weight-chunks.ts';

/*
 * For GPUs: the weight gradient (see weight-gradient.ts) as a product of matrices in the tiles of lib/product-schemes.ts. Of a
 * group, a is dy, [filters, k], and b the pixels that a source channel's taps meet, [k, channels and taps], which never lie in
 * memory as a matrix. k runs over all pixels of all images, in fours of one row of pixels: past the end of a row, and where a
 * tap is outside the image, zeros are loaded. From block to block addresses advance by additions. 1x1 kernels that map every
 * pixel to itself have all rows of an image as one.
 *
 * The sum is cut into chunks (weight-chunks.ts) until there are enough workgroups.
 */

/** Least fours of a chunk, so that storing its tile takes little of its time. */
const LEAST_FOURS = 64;

interface Geometry {
  /** Channels that are written, of a group, and of its source channels all taps. */
  readonly rows: number;
  readonly columns: number;
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
  /** Fours of a row of outputs. */
  readonly rowFours: number;
  /** Four pixels that meet a tap are a vector, and four outputs. */
  readonly vectorX: boolean;
  readonly vectorY: boolean;
}

function geometryOf(p: ConvProblem): Geometry {
  const [outHeight, outWidth] = convOutput(p);
  const taps = p.kernelHeight * p.kernelWidth;
  const isSame = taps === 1 && p.stride === 1 && p.padding === 0;
  const flat = isSame ? { height: 1, width: p.height * p.width } : { height: p.height, width: p.width };
  const out = isSame ? flat : { height: outHeight, width: outWidth };
  return {
    rows: p.filters / p.groups,
    columns: (p.channels / p.groups) * taps,
    ...flat,
    outHeight: out.height,
    outWidth: out.width,
    rowFours: ceilDiv(out.width, 4),
    vectorX: isSame && flat.width % 4 === 0,
    vectorY: out.width % 4 === 0,
  };
}

const tilesOf = (p: ConvProblem, { rows, columns }: Geometry, tile: number): number =>
  p.groups * ceilDiv(rows, tile) * ceilDiv(columns, tile);

/** The variant of one kind of tiles. */
const variantOf = ({ name, schemeOf }: SchemeChoice): Variant<ConvProblem> => ({
  name,
  fits: (p, device) => {
    const scheme = schemeOf(device);
    // Matrix units take f16.
    const isF16 = (['x', 'y'] as const).every((tensor) => p.f16?.includes(tensor));
    if (scheme === null || (scheme.type === 'vec4h' && !isF16)) return false;
    const geometry = geometryOf(p);
    if (geometry.rows % 4 !== 0 || (p.channels / p.groups) % 4 !== 0) return false;
    const { chunks } = cut(p, geometry, scheme, device);
    return 4 * chunks * p.filters * geometry.columns <= device.maxBindingSize;
  },
  use: (p, device) => {
    if (device.cpu) return 'named';
    const { rows, columns, outHeight, outWidth, rowFours } = geometryOf(p);
    // Few channels would leave most of a tile empty, and narrow rows most of their fours.
    if (Math.min(rows, columns) <= SMALL_TILE / 2 || 2 * rowFours >= outWidth) return 'named';
    const mostChunks = ceilDiv(p.batch * outHeight * rowFours, LEAST_FOURS);
    return useOfTiles(schemeOf(device)!, { rows, columns }, p.groups * mostChunks);
  },
  launches: (p, device) => weightProduct(p, schemeOf(device)!, device),
});

export const weightProducts = productSchemes.map(variantOf);

const cut = (p: ConvProblem, geometry: Geometry, { tile, threads, block }: Scheme, device: DeviceProfile) =>
  cutImages(p, device, {
    itemsPerImage: geometry.outHeight * geometry.rowFours,
    wanted: ceilDiv(2 * BUSY_INVOCATIONS, tilesOf(p, geometry, tile) * threads),
    least: LEAST_FOURS,
    most: LONGEST_SUM,
    unit: block / 4,
  });

/** Bindings x, dy, dw. */
function weightProduct(p: ConvProblem, scheme: Scheme, device: DeviceProfile): Launch[] {
  const geometry = geometryOf(p);
  const { parts, chunks } = cut(p, geometry, scheme, device);
  const sums = inF16(
    parts.map((part) => partial(p, geometry, scheme, part, device)),
    f16Bindings(p, { x: 'x', dy: 'y' }),
  );
  if (chunks === 1) return bind(sums, { partial: 'dw' });
  const stride = p.filters * geometry.columns;
  return [
    ...bind(sums, {}, { partial: { elements: stride * chunks } }),
    ...total(p, { chunks, stride, onlyTap: null }, device),
  ];
}

const NAMES = { names: ['four', 'row', 'image'], addresses: ['x_at', 'dy_at'] } as const;

/** Fours in rows of outputs in images, and where their pixels and outputs are. */
const indexOf = (p: ConvProblem, geometry: Geometry, block: number): NestedIndex => {
  const { height, width, outHeight, outWidth, rowFours, vectorX, vectorY } = geometry;
  const pixels = [4 * p.stride, p.stride * width, p.channels * height * width];
  const outputs = [4, outWidth, p.filters * outHeight * outWidth];
  const strides = ([inner, middle, outer]: number[], isVector: boolean): Strides =>
    isVector ? [inner / 4, middle / 4, outer / 4] : [inner, middle, outer];
  return {
    sizes: [rowFours, outHeight],
    step: block / 4,
    addresses: { x_at: strides(pixels, vectorX), dy_at: strides(outputs, vectorY) },
  };
};

/** Sums of one part of the batch, chunk by chunk. */
function partial(p: ConvProblem, geometry: Geometry, scheme: Scheme, part: Part, device: DeviceProfile): Launch {
  const { rows, columns, height, width, outHeight, outWidth, rowFours, vectorX, vectorY } = geometry;
  const { tile, block } = scheme;
  const depth = p.channels / p.groups;
  const workgroups = tilesOf(p, geometry, tile) * part.chunks;
  const plane = height * width;
  const outPlane = outHeight * outWidth;
  const bytes = imageBytes(p);
  const { x, y: dy } = part.ranges;
  return launch({
    name: `conv2d.weight_gradient/${scheme.name}`,
    bindings: [
      input('x', vectorX ? 'vec4f' : 'f32'),
      input('dy', vectorY ? 'vec4f' : 'f32'),
      output('partial', 'vec4f'),
    ],
    enables: scheme.enables,
    uniforms: {
      workgroups: u32(workgroups),
      tiles_m: u32(ceilDiv(rows, tile)),
      tiles_n: u32(ceilDiv(columns, tile)),
      groups: u32(p.groups),
      rows: u32(rows),
      columns: u32(columns),
      depth: u32(depth),
      taps: u32(p.kernelHeight * p.kernelWidth),
      kernel_width: u32(p.kernelWidth),
      conv_stride: i32(p.stride),
      padding: i32(p.padding),
      batch: u32(part.batch),
      height: u32(height),
      width: i32(width),
      plane: u32(plane),
      out_width: i32(outWidth),
      out_plane: u32(outPlane),
      ...nestedUniforms(indexOf(p, geometry, block)),
      blocks: u32(ceilDiv(part.batch * outHeight * rowFours, block / 4)),
      chunk_blocks: u32(ceilDiv(part.itemsPerChunk, block / 4)),
      first_chunk: u32(part.firstChunk),
      chunk_vectors: u32((p.filters * columns) / 4),
      fours: u32(FOURS),
    },
    wgsl: scheme.wgsl(codeOf(geometry, scheme)),
    grid: foldGrid(workgroups, device),
    cost: {
      flops: 2 * part.batch * p.filters * columns * outPlane,
      bytes: part.batch * (bytes.x + bytes.y),
    },
    ranges: { ...(x && { x }), ...(dy && { dy }) },
  });
}

const codeOf = ({ vectorX, vectorY }: Geometry, { tile, block, type }: Scheme): ProductCode => {
  const scalar = type === 'vec4h' ? 'f16' : 'f32';
  /** Vectors along k, turned in f32. */
  const turned = (i: number, loads: string): string => /* wgsl */ `
    ${lines(4, (j) => `var u${j} = ${type}();`)}
    ${loads}
    ${lines(4, (e) => `next${i}_${e} = ${type === 'vec4h' ? `u${e}` : `${type}(u0[${e}], u1[${e}], u2[${e}], u3[${e}])`};`)}`;
  const vectors = (i: number, array: string, pitch: string): string =>
    turned(
      i,
      `if (image < params.batch) { ${lines(4, (j) => `u${j} = ${type}(${array}[from_${i}.x + ${array}_at + ${j}u * ${pitch}]);`)} }`,
    );
  const loadOutputs = (i: number): string => {
    if (vectorY) return vectors(i, 'dy', 'params.out_plane / 4u');
    const at = (j: number, e: number): string => `dy[from_${i}.x + dy_at + ${j}u * params.out_plane + ${e}u]`;
    return turned(
      i,
      lines(4, (e) => `if (${e} < left) { ${lines(4, (j) => `u${j}[${e}] = ${scalar}(${at(j, e)});`)} }`),
    );
  };
  const loadPixels = (i: number): string => {
    if (vectorX) return vectors(i, 'x', 'params.plane / 4u');
    const column = (j: number): string => {
      const loads = range(4).map(
        (e) => `if (u32(column + ${e} * params.conv_stride) < end_${i}[${j}]) {
          next${i}_${e}[${j}] = ${scalar}(x[from_${i}[${j}] + x_at + ${e}u * u32(params.conv_stride)]); }`,
      );
      return /* wgsl */ `
    if (u32(first_row + tap_y_${i}[${j}]) < params.height) {
      let column = first_column + tap_x_${i}[${j}];
      ${loads.join('\n')}
    }`;
    };
    return /* wgsl */ `
    ${lines(4, (e) => `next${i}_${e} = ${type}();`)}
    if (image < params.batch) {
      let first_row = i32(row) * params.conv_stride;
      let first_column = i32(4u * four) * params.conv_stride;
      ${lines(4, column)}
    }`;
  };
  const locateOutputs = (i: number): string => /* wgsl */ `
    // Rows past the end are others of the group, whose sums are not stored.
    let own_row = group * params.rows + min(origin_a + x_${i}, params.rows - 4u);
    from_${i}.x = own_row * params.out_plane${vectorY ? ' / 4u' : ''};`;
  const locatePixels = (i: number): string =>
    vectorX
      ? /* wgsl */ `
    let channel = group * params.depth + min(origin_b + x_${i}, params.columns - 4u);
    from_${i}.x = channel * params.plane / 4u;`
      : /* wgsl */ `
    let own_column = vec4u(min(origin_b + x_${i}, params.columns - 4u)) + vec4u(0u, 1u, 2u, 3u);
    let channel = group * params.depth + own_column / params.taps;
    let tap = own_column % params.taps;
    tap_y_${i} = vec4i(tap / params.kernel_width) - params.padding;
    tap_x_${i} = vec4i(tap % params.kernel_width) - params.padding;
    // Columns that a tap meets end with the image, or with the row of outputs.
    end_${i} = vec4u(min((params.out_width - 1) * params.conv_stride + tap_x_${i} + 1, vec4i(params.width)));
    from_${i} = channel * params.plane + vec4u(tap_y_${i} * params.width + tap_x_${i});`;
  return {
    alongK: { a: true, b: vectorX },
    origin: /* wgsl */ `
  let number = linear_workgroup(workgroup, workgroups);
  if (number >= params.workgroups) { return; }
  // Filters vary fastest, so that neighbouring workgroups read the same pixels.
  let origin_a = (number % params.tiles_m) * ${tile}u;
  let of_column = number / params.tiles_m;
  let origin_b = (of_column % params.tiles_n) * ${tile}u;
  let of_group = of_column / params.tiles_n;
  let group = of_group % params.groups;
  let chunk = of_group / params.groups;
  let first_block = chunk * params.chunk_blocks;
  // The four that all patches of this invocation are at, the row of outputs that it is in, and the image.
  let first_four = first_block * ${block / 4}u + lane % ${block / 4}u;
  ${startNested(NAMES, 'first_four')}`,
    declare: (i) =>
      `var from_${i} = vec4u(); var tap_y_${i} = vec4i(); var tap_x_${i} = vec4i(); var end_${i} = vec4u();`,
    locate: (operand, i) => (operand === 'a' ? locateOutputs(i) : locatePixels(i)),
    load: (operand, i) => (operand === 'a' ? loadOutputs(i) : loadPixels(i)),
    fetch: (loads) => /* wgsl */ `
    ${vectorY ? '' : 'let left = select(0, params.out_width - i32(4u * four), image < params.batch);'}
    ${loads.map((load) => `{ ${load} }`).join('\n    ')}
    ${advanceNested(NAMES)}`,
    blocks: 'min(params.chunk_blocks, params.blocks - first_block)',
    place: (columns) => /* wgsl */ `
  let result = (params.first_chunk + chunk) * params.chunk_vectors;
  ${columns.map((column, c) => `let column${c} = origin_b + ${column};`).join('\n  ')}`,
    store: (tileRow, sums) => /* wgsl */ `{
    let filter_row = origin_a + ${tileRow};
    if (filter_row < params.rows) {
      let to = result + (group * params.rows + filter_row) * (params.columns / 4u);
      ${[...sums].map(([c, sum]) => `if (column${c} < params.columns) { partial[to + column${c} / 4u] = ${sum}; }`).join('\n      ')}
    }
  }`,
  };
};
