/**
 * What the WebAssembly module exports: the inner loops of the data pipeline, in AssemblyScript (a subset of TypeScript with
 * WebAssembly's own types, here its vectors of 128 bits). All addresses are bytes in the module's memory, given out by the
 * caller (../memory.ts) from `heapBase` on; every kernel may read and write up to 64 bytes past the end of what it works on.
 * Compiled by `npm run wasm` into ../module.ts.
 */
export { affine } from './affine';
export { normals } from './normals';
export { adjustColor, copy, flip, histogram, lookUp, lumaSum, planes, sharpen } from './points';
export { decodeJpeg, huffmanBytes, huffmanTable, planeBytes } from './jpeg';
export { resizeColumns, resizeRows } from './resize';

export function heapBase(): usize {
  return __heap_base;
}
