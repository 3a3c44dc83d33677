/**
 * The memory of the data pipeline's WebAssembly kernels, and images in it. Browser-safe.
 *
 * Within `inKernelMemory` the images that operations make stay there, so that a chain of operations copies nothing; all of it
 * is free again when the outermost such call returns. An operation outside of any copies its result out.
 */
import type { RgbImage } from '../dataset.ts';
import { moduleBase64 } from './module.ts';

/** What ./assembly/index.ts exports; addresses are numbers. */
export interface Kernels {
  heapBase(): number;
  affine(source: number, width: number, height: number, out: number, isBicubic: number, fill: number, ...matrix: readonly [number, number, number, number, number, number]): void; // prettier-ignore
  adjustColor(source: number, out: number, pixels: number, factor: number): void;
  copy(source: number, out: number, bytes: number): void;
  flip(source: number, out: number, width: number, height: number): void;
  histogram(source: number, pixels: number, counts: number): void;
  lookUp(source: number, out: number, pixels: number, tables: number): void;
  lumaSum(source: number, pixels: number): number;
  normals(seed: number, purpose: number, step: number, stream: number, word: number, out: number, count: number): void; // prettier-ignore
  planes(source: number, pixels: number, out: number, tables: number): void;
  sharpen(source: number, out: number, width: number, height: number, factor: number): void;
  resizeColumns(source: number, sourceWidth: number, rows: number, out: number, width: number, coefficients: number, stride: number): void; // prettier-ignore
  resizeRows(source: number, rowBytes: number, out: number, height: number, coefficients: number, stride: number): void;
  huffmanBytes(): number;
  huffmanTable(counts: number, symbols: number, out: number): number;
  planeBytes(frame: number): number;
  decodeJpeg(frame: number): number;
}

/** Bytes past the end of a buffer that kernels may touch; and before its beginning, where neighbours are read. */
const MARGIN = 64;
const PAGE = 65_536;
/** Memory that is kept between uses: enough for photos of 8 million pixels. A larger image's is given back. */
const KEPT = 64 * 2 ** 20;

let compiled: WebAssembly.Module | undefined;
let memory: WebAssembly.Memory;
let exported: Kernels | undefined;
let base = 0;
let top = 0;
let depth = 0;

/** The kernels, compiled at the first call. */
export function kernels(): Kernels {
  if (exported) return exported;
  compiled ??= new WebAssembly.Module(Uint8Array.from(atob(moduleBase64), (letter) => letter.charCodeAt(0)));
  const { exports } = new WebAssembly.Instance(compiled);
  memory = exports.memory as WebAssembly.Memory;
  const found = exports as unknown as Kernels;
  exported = found;
  base = found.heapBase();
  top = base;
  return found;
}

/** Runs `work`; what it allocates, and the images it makes, last until the outermost call returns. */
export function inKernelMemory<Result>(work: () => Result): Result {
  kernels();
  depth++;
  try {
    return work();
  } finally {
    depth--;
    if (depth === 0) {
      top = base;
      if (memory.buffer.byteLength > KEPT) exported = undefined;
    }
  }
}

/** Room of `bytes`, aligned to 16, in `inKernelMemory`. Its contents are anything. */
export function allocate(bytes: number): number {
  const at = (top + MARGIN + 15) & ~15;
  top = at + bytes + MARGIN;
  const missing = top - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(Math.max(missing, 2 ** 20) / PAGE));
  return at;
}

/** The memory from an address on, until the next `allocate`. */
export const bytesAt = (address: number, length: number): Uint8Array<ArrayBuffer> =>
  new Uint8Array(memory.buffer, address, length);
export const wordsAt = (address: number, length: number): Int32Array<ArrayBuffer> =>
  new Int32Array(memory.buffer, address, length);
export const floatsAt = (address: number, length: number): Float32Array<ArrayBuffer> =>
  new Float32Array(memory.buffer, address, length);

/** Copies bytes in. */
export function allocated(bytes: ArrayLike<number>): number {
  const at = allocate(bytes.length);
  bytesAt(at, bytes.length).set(bytes);
  return at;
}

/** An image in the memory of the kernels, while it lasts. */
class KernelImage implements RgbImage {
  constructor(
    readonly width: number,
    readonly height: number,
    readonly address: number,
  ) {}

  /** A view, until the memory grows. */
  get data(): Uint8Array {
    return bytesAt(this.address, this.width * this.height * 3);
  }
}

/** Where the pixels of an image are, copied in if need be. In `inKernelMemory`. */
export const addressOf = (image: RgbImage): number =>
  image instanceof KernelImage ? image.address : allocated(image.data);

/** The image that `make` makes in the memory of the kernels; copied out unless this is part of more work there. */
export function keptImage(make: () => RgbImage): RgbImage {
  const isOutermost = depth === 0;
  return inKernelMemory(() => {
    const image = make();
    if (!isOutermost || !(image instanceof KernelImage)) return image;
    return { width: image.width, height: image.height, data: new Uint8Array(image.data) };
  });
}

/** A new image of the given size, written by `draw` at the address that it is given. */
export const newImage = (width: number, height: number, draw: (out: number) => void): RgbImage =>
  keptImage(() => {
    const out = allocate(width * height * 3);
    draw(out);
    return new KernelImage(width, height, out);
  });
