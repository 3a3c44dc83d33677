/**
 * Baseline JPEG to RGB, with the very pixels of libjpeg-turbo's usual settings (accurate integer DCT, "fancy" upsampling), and
 * of a rectangle only: entropy codes are read to the rectangle's last row, all else is done where it is needed. ../jpeg.ts has
 * read the headers. Sources: ITU-T T.81; libjpeg-turbo's jdhuff.c, jidctint.c, jdsample.c, jdcolor.c.
 */
import { blockSamples, rowToRgb } from './jpeg-samples';

/** What ../jpeg.ts writes (words of 32 bits in this order). Addresses of tables are of what `huffmanTable` made. */
@unmanaged
class Frame {
  width: i32;
  height: i32;
  /** 1 or 3. */
  components: i32;
  /** Luma samples for one of chroma, across and down: 1 or 2. */
  across: i32;
  down: i32;
  /** MCUs between restart markers, or 0. */
  restartInterval: i32;
  data: usize;
  end: usize;
  /** The rectangle. */
  left: i32;
  top: i32;
  right: i32;
  bottom: i32;
  out: usize;
  /** Room for the samples (see `planeBytes`). */
  planes: usize;
  components0: Component;
}

@unmanaged
class Component {
  /** For each position in zigzag order: byte offset in the block (u16), quantization step (u16). */
  quantization: usize;
  dc: usize;
  ac: usize;
}

/** Bits that a code is looked up by; longer ones are searched. */
const LOOK: i32 = 10;
/** In a Huffman table after the look-up: largest code of each length + 1, aligned to 16 bits; index of its symbols less code; symbols. */
const LIMITS: usize = 4 << LOOK;
const OFFSETS: usize = LIMITS + 4 * 18;
const SYMBOLS: usize = OFFSETS + 4 * 18;

export function huffmanBytes(): i32 {
  return <i32>SYMBOLS + 256;
}

/**
 * What a code says: run << 20 | size << 16 | bits of code and value together. Nothing needs to be known of the value for the next
 * code to be found, so that a processor works on several at a time. 0: no code.
 */
function entry(symbol: i32, length: i32): i32 {
  return ((symbol >> 4) << 20) | ((symbol & 15) << 16) | (length + (symbol & 15));
}

/** Makes a table from the 16 counts and the symbols of a DHT segment; false if they are no code. */
export function huffmanTable(counts: usize, symbols: usize, out: usize): bool {
  memory.fill(out, 0, SYMBOLS);
  let code: i32 = 0;
  let index: i32 = 0;
  for (let length = 1; length <= 16; length++) {
    const count = <i32>load<u8>(counts + length - 1);
    store<i32>(out + OFFSETS + (length << 2), index - code);
    for (let i = 0; i < count; i++, code++, index++) {
      const symbol = load<u8>(symbols + index);
      store<u8>(out + SYMBOLS + index, symbol);
      if (code >= 1 << length) return false;
      if (length > LOOK) continue;
      const first = code << (LOOK - length);
      const what = entry(symbol, length);
      for (let look = first; look < first + (1 << (LOOK - length)); look++) store<i32>(out + (look << 2), what);
    }
    store<i32>(out + LIMITS + (length << 2), code << (16 - length));
    code <<= 1;
  }
  return true;
}

/*
 * The bits of an interval between restarts are laid out backwards and without stuffed zeros, so that eight bytes at once are
 * the next bits, the first of them on top, and nothing is to be looked for among them. What follows the last is zeros.
 *
 * `hold` has the bits on top, of which `count` were counted; the byte after those is at `at` + 7. `last` is where the interval's
 * last byte is.
 */
let hold: u64 = 0;
let count: i32 = 0;
let at: usize = 0;
let last: usize = 0;
/** Where the next marker is in the file. */
let marker: usize = 0;

/** Lays out the bytes from `from` up to the next marker or the end, downwards from `room`. */
function startBits(from: usize, end: usize, room: usize): void {
  let to = room;
  const full = i8x16.splat(-1);
  for (;;) {
    while (from + 16 <= end) {
      const bytes = v128.load(from);
      if (v128.any_true(i8x16.eq(bytes, full))) break;
      to -= 16;
      v128.store(to, v128.swizzle(bytes, i8x16(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)));
      from += 16;
    }
    // Byte by byte to the next 0xff, and over it.
    let byte: u32 = 0;
    while (from < end) {
      byte = load<u8>(from);
      if (byte === 0xff) break;
      store<u8>(--to, byte);
      from++;
    }
    if (from >= end || load<u8>(from, 1) !== 0) break;
    store<u8>(--to, 0xff);
    from += 2;
  }
  marker = from;
  last = to;
  v128.store(to - 16, i64x2(0, 0));
  v128.store(to - 32, i64x2(0, 0));
  at = room - 8;
  hold = 0;
  count = 0;
}

/** Bits that are left of the interval; below 0 if more were taken than there are. */
function bitsLeft(): i32 {
  return ((<i32>(at + 8 - last)) << 3) + count;
}

/** The entry of a code longer than LOOK bits at the top of `bits`, or 0 if there is none. */
function longCode(table: usize, bits: u64): i32 {
  const top = <i32>(bits >>> 48);
  for (let length = LOOK + 1; length <= 16; length++) {
    if (top >= load<i32>(table + LIMITS + (length << 2))) continue;
    const index = (top >> (16 - length)) + load<i32>(table + OFFSETS + (length << 2));
    return entry(load<u8>(table + SYMBOLS + (index & 255)), length);
  }
  return 0;
}

/** The last DC value of each component. */
let dc0: i32 = 0;
let dc1: i32 = 0;
let dc2: i32 = 0;

/** More than any coefficient of an image of 8 bits, and so little that nothing overflows, which decoders do differently. */
const LARGEST: i32 = 4096;

/** The value of `what`, which ends its bits: `size` of them, of which the first is 0 if it is negative. */
function valueOf(bits: u64, what: i32, size: i32): i32 {
  const mask = (1 << size) - 1;
  const raw = (<i32>(bits >>> (64 - (what & 63)))) & mask;
  return raw - (mask & ((raw >>> (size - 1)) - 1));
}

/**
 * Reads one block into `block` (zeroed by the caller), dequantized. Gives the number of positions read: 1 if there is only the mean;
 * 0 on a broken code. `isWanted` false: only passes over it, and keeps its mean.
 */
function readBlock(component: Component, block: usize, previous: i32, isWanted: bool): i32 {
  let bits = hold;
  let left = count;
  let from = at;
  const dc = component.dc;
  const ac = component.ac;
  const quantization = component.quantization;
  // Eight bytes, of which as many are counted as fit; the bits of the rest are the same when they come again.
  bits |= load<u64>(from) >>> left;
  from -= (63 - left) >> 3;
  left |= 56;
  let what = load<i32>(dc + ((<usize>(bits >>> (64 - LOOK))) << 2));
  if (what === 0) what = longCode(dc, bits);
  if (what === 0 || what >= 1 << 20) return 0;
  let size = (what >> 16) & 15;
  lastDc = previous + (size === 0 ? 0 : valueOf(bits, what, size));
  bits <<= what;
  left -= what & 63;
  const mean = lastDc * <i32>load<u16>(quantization, 2);
  let extent = mean ^ (mean >> 31);
  store<i16>(block, <i16>mean);
  let k: i32 = 1;
  while (k < 64) {
    // Two codes with their values are 52 bits at most: every second time there are enough.
    if (left < 32) {
      bits |= load<u64>(from) >>> left;
      from -= (63 - left) >> 3;
      left |= 56;
    }
    what = load<i32>(ac + ((<usize>(bits >>> (64 - LOOK))) << 2));
    if (what === 0) {
      what = longCode(ac, bits);
      if (what === 0) return 0;
    }
    const now = bits;
    bits <<= what;
    left -= what & 63;
    size = (what >> 16) & 15;
    k += what >> 20;
    if (size === 0) {
      if (what >> 20 !== 15) {
        // The end of the block.
        k -= what >> 20;
        break;
      }
      k++;
      continue;
    }
    if (k > 63) return 0;
    if (isWanted) {
      const place = load<u32>(quantization + (k << 2));
      const value = valueOf(now, what, size) * <i32>(place >>> 16);
      extent |= value ^ (value >> 31);
      store<i16>(block + (place & 0xffff), <i16>value);
    }
    k++;
  }
  hold = bits;
  count = left;
  at = from;
  return extent >= LARGEST || bitsLeft() < 0 ? 0 : k;
}

let lastDc: i32 = 0;

/** Begins the next interval; false if the marker is not there. */
function restart(number: i32, end: usize, room: usize): bool {
  if (bitsLeft() >= 8 || marker + 2 > end) return false;
  if (load<u8>(marker) !== 0xff || load<u8>(marker, 1) !== 0xd0 + (number & 7)) return false;
  startBits(marker + 2, end, room);
  dc0 = dc1 = dc2 = 0;
  return true;
}

/** Columns and rows of MCUs that the rectangle needs: with a sample of chroma to each side. */
function firstMcu(from: i32, size: i32): i32 {
  return max(0, from - 2) / size;
}
function lastMcu(to: i32, size: i32, whole: i32): i32 {
  return min(whole - 1, to + 1) / size;
}

/** Bytes of a row of luma samples, and of chroma samples, of the window of MCUs. */
function lumaStride(frame: Frame): i32 {
  const size = 8 * frame.across;
  const first = firstMcu(frame.left, size);
  return (lastMcu(frame.right, size, frame.width) - first + 1) * size + 32;
}

/** Room for the bits of the longest interval, and zeros after them. */
function bitBytes(frame: Frame): i32 {
  return <i32>(frame.end - frame.data) + 128;
}

/** Room that the samples need, for all components, and the bits. */
export function planeBytes(frame: Frame): i32 {
  const size = 8 * frame.down;
  const rows = (lastMcu(frame.bottom, size, frame.height) - firstMcu(frame.top, size) + 1) * size;
  return lumaStride(frame) * rows * frame.components + 8 * lumaStride(frame) + 1024 + bitBytes(frame);
}

/** Decodes the rectangle into `out`, rows of RGB; false if the data are not as they should be. */
export function decodeJpeg(frame: Frame): bool {
  const across = frame.across;
  const down = frame.down;
  const width = frame.width;
  const height = frame.height;
  const components = frame.components;
  const mcuWidth = 8 * across;
  const mcuHeight = 8 * down;
  const firstColumn = firstMcu(frame.left, mcuWidth);
  const lastColumn = lastMcu(frame.right, mcuWidth, width);
  const firstRow = firstMcu(frame.top, mcuHeight);
  const lastRow = lastMcu(frame.bottom, mcuHeight, height);
  const columns = (width + mcuWidth - 1) / mcuWidth;
  const stride = lumaStride(frame);
  const rows = (lastRow - firstRow + 1) * mcuHeight;
  // A margin of 16 bytes to the left of each row, for what lies beyond the first sample.
  const room = frame.planes + bitBytes(frame);
  const block = (room + 15) & ~15;
  const luma = block + 256 + 16;
  const cb = luma + <usize>(stride * rows);
  const cr = cb + <usize>(stride * rows);
  const componentBase = offsetof<Frame>('components0');
  const y = changetype<Component>(changetype<usize>(frame) + componentBase);
  const b = changetype<Component>(changetype<usize>(frame) + componentBase + offsetof<Component>());
  const r = changetype<Component>(changetype<usize>(frame) + componentBase + 2 * offsetof<Component>());
  const end = frame.end;
  startBits(frame.data, end, room);
  dc0 = dc1 = dc2 = 0;
  let sinceRestart = 0;
  let restarts = 0;
  for (let row = 0; row <= lastRow; row++) {
    for (let column = 0; column < columns; column++, sinceRestart++) {
      if (frame.restartInterval > 0 && sinceRestart === frame.restartInterval) {
        if (!restart(restarts++, end, room)) return false;
        sinceRestart = 0;
      }
      const isWanted = row >= firstRow && column >= firstColumn && column <= lastColumn;
      const line = (row - firstRow) * mcuHeight;
      const x = (column - firstColumn) * mcuWidth;
      for (let v = 0; v < down; v++) {
        for (let h = 0; h < across; h++) {
          if (!block8(y, block, dc0, isWanted, luma + <usize>((line + 8 * v) * stride + x + 8 * h), stride))
            return false;
          dc0 = lastDc;
        }
      }
      if (components === 1) continue;
      const chroma = <usize>((row - firstRow) * 8 * stride + (column - firstColumn) * 8);
      if (!block8(b, block, dc1, isWanted, cb + chroma, stride)) return false;
      dc1 = lastDc;
      if (!block8(r, block, dc2, isWanted, cr + chroma, stride)) return false;
      dc2 = lastDc;
    }
  }
  if (components === 3) {
    const chromaWidth = (width + across - 1) / across;
    const chromaRows = (lastRow - firstRow + 1) * 8;
    repeatEdges(cb, stride, chromaRows, chromaWidth - firstColumn * 8);
    repeatEdges(cr, stride, chromaRows, chromaWidth - firstColumn * 8);
  }
  toRgb(frame, luma, cb, cr, cr + <usize>(stride * rows), stride, firstColumn * mcuWidth, firstRow * 8);
  return true;
}

/** Reads a block and, if it is wanted, writes its samples. */
function block8(component: Component, block: usize, previous: i32, isWanted: bool, out: usize, stride: i32): bool {
  if (!isWanted) return readBlock(component, block, previous, false) !== 0;
  const zero = i64x2(0, 0);
  for (let i: usize = 0; i < 128; i += 16) v128.store(block + i, zero);
  const read = readBlock(component, block, previous, true);
  if (read === 0) return false;
  blockSamples(block, read === 1, out, stride);
  return true;
}

/** What upsampling reads beyond the first and the last sample of a row repeats them. */
function repeatEdges(plane: usize, stride: i32, rows: i32, width: i32): void {
  for (let y = 0; y < rows; y++, plane += stride) {
    store<u8>(plane - 1, load<u8>(plane));
    if (width < stride - 16) store<u8>(plane + width, load<u8>(plane + width - 1));
  }
}

/** `line`: room for a row of pixels. */
function toRgb(
  frame: Frame,
  luma: usize,
  cb: usize,
  cr: usize,
  line: usize,
  stride: i32,
  firstX: i32,
  firstChromaY: i32,
): void {
  const left = frame.left;
  const top = frame.top;
  const right = frame.right;
  const bottom = frame.bottom;
  const across = frame.across;
  const down = frame.down;
  const components = frame.components;
  const isOdd = left & 1;
  const x = left - isOdd - firstX;
  const chromaX = <usize>(x / across);
  const pixels = right - left + isOdd;
  const bytes = <usize>((right - left) * 3);
  const chromaHeight = (frame.height + down - 1) / down;
  let out = frame.out;
  for (let y = top; y < bottom; y++) {
    const lumaLine = luma + <usize>((y - firstChromaY * down) * stride + x);
    const row = y / down;
    // The nearer of the two rows of chroma beside; at the border the row itself.
    const near = down === 1 ? row : min(chromaHeight - 1, max(0, y & 1 ? row + 1 : row - 1));
    const own = <usize>((row - firstChromaY) * stride) + chromaX;
    const beside = <usize>((near - firstChromaY) * stride) + chromaX;
    rowToRgb(lumaLine, cb + own, cb + beside, cr + own, cr + beside, components === 1 ? 0 : across, down, pixels, line);
    memory.copy(out, line + 3 * isOdd, bytes);
    out += bytes;
  }
}
