/**
 * The stated formula from which both sides of a golden comparison draw weights and inputs.
 * Twin of test/golden/generator.py, whose header defines it; the two agree to the bit.
 */

const utf8 = new TextEncoder();

/** FNV-1a, 32 bits, of the UTF-8 bytes of a name. */
export function seed(name: string): number {
  let s = 0x811c9dc5;
  for (const byte of utf8.encode(name)) s = Math.imul(s ^ byte, 0x01000193);
  return s >>> 0;
}

/** The finalizer of MurmurHash3 on 32 bits; the result is a signed 32-bit integer. */
function mix(h: number): number {
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** 32 random bits of element `index` of the tensor with this seed. */
export function bits(tensorSeed: number, index: number): number {
  return mix((mix(index) + tensorSeed) | 0) >>> 0;
}

const unit = (tensorSeed: number, index: number): number => (bits(tensorSeed, index) >>> 8) / 0x1000000;

/** `count` float32 values in center ± scale. */
export function uniform(name: string, count: number, center = 0, scale = 1): Float32Array<ArrayBuffer> {
  const s = seed(name);
  const values = new Float32Array(count);
  for (let j = 0; j < count; j++) values[j] = center + scale * (2 * unit(s, j) - 1);
  return values;
}

/** `count` integers in [0, below). */
export function integers(name: string, count: number, below: number): Int32Array<ArrayBuffer> {
  const s = seed(name);
  const values = new Int32Array(count);
  for (let j = 0; j < count; j++) values[j] = Math.floor(unit(s, j) * below);
  return values;
}

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

/** Center and scale of a tensor of a model, by its timm name and shape. */
export function rule(name: string, shape: readonly number[]): [center: number, scale: number] {
  if (name.endsWith('running_var')) return [1, 0.3];
  if (name.endsWith('running_mean')) return [0, 0.1];
  if (name === 'cls_token' || name === 'dist_token' || name === 'pos_embed') return [0, 0.1];
  if (/(^|\.)(norm\d*|bn)\.(weight|bias)$/.test(name)) return name.endsWith('.weight') ? [1, 0.2] : [0, 0.1];
  if (name.endsWith('.bias')) return [0, 0.05];
  if (name.endsWith('.weight')) return [0, Math.sqrt(3 / product(shape.slice(1)))];
  throw new Error(`no rule for a tensor named ${name}`);
}

/** A tensor of a model, by its timm name (`num_batches_tracked` is zero and not drawn). */
export function weight(name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
  return uniform(name, product(shape), ...rule(name, shape));
}

/** What stands for a tensor too large to store: its norm, 16 random projections and 64 elements. */
export interface Sketch {
  norm: number;
  projections: Float64Array;
  elements: Float64Array;
}

/** The sketch of a tensor; `name` decides signs and indices. */
export function sketch(name: string, values: ArrayLike<number>): Sketch {
  const signs = seed(`signs.${name}`);
  const projections = new Float64Array(16);
  let squares = 0;
  for (let j = 0; j < values.length; j++) {
    const value = values[j] ?? 0;
    squares += value * value;
    const word = bits(signs, j);
    for (let p = 0; p < 16; p++) projections[p] = (projections[p] ?? 0) + ((word >>> p) & 1 ? -value : value);
  }
  const elements = Float64Array.from(integers(`indices.${name}`, 64, values.length), (index) => values[index] ?? 0);
  return { norm: Math.sqrt(squares), projections, elements };
}
