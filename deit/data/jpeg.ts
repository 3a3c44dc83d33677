/**
 * Baseline JPEG, the usual kind of photo, decoded to the very pixels of libjpeg-turbo (which Pillow and sharp use), and of a
 * rectangle only where no more is wanted (wasm/assembly/jpeg.ts). Whatever is unusual or broken is left to a full decoder, which
 * then says what is wrong with it. Source: ITU-T T.81, annex B. Browser-safe.
 */
import type { RgbImage } from './dataset.ts';
import { readTiffTags } from './node/formats/tiff.ts';
import type { Rect } from './crop.ts';
import { allocate, allocated, kernels, newImage, wordsAt } from './wasm/memory.ts';

const Marker = { SOF0: 0xc0, SOF1: 0xc1, DHT: 0xc4, SOI: 0xd8, EOI: 0xd9, SOS: 0xda, DQT: 0xdb, DRI: 0xdd } as const;
const APP1 = 0xe1;
const APP14 = 0xee;
const ORIENTATION = 274;

/** Where the k-th coefficient of a block is, row by row. */
const zigzag = [
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47,
  55, 62, 63,
];

interface Component {
  id: number;
  across: number;
  down: number;
  quantization: number;
  dc: number;
  ac: number;
}

interface Headers {
  width: number;
  height: number;
  components: Component[];
  /** As in DQT segments, by number: quantization steps in zigzag order. */
  quantization: (Uint16Array | undefined)[];
  /** As in DHT segments, by class * 4 + number: 16 counts, then symbols. */
  huffman: (Uint8Array | undefined)[];
  restartInterval: number;
  /** Where the entropy-coded data begin. */
  data: number;
}

/** The data of a JPEG are not as its headers say, or not as they should be. */
export class BrokenJpeg extends Error {}

/** A JPEG file whose headers are read, and whose pixels are decoded when they are asked for: each time anew. */
export class JpegImage implements RgbImage {
  readonly width: number;
  readonly height: number;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly headers: Headers,
  ) {
    this.width = headers.width;
    this.height = headers.height;
  }

  /** All pixels. Throws `BrokenJpeg`. */
  get data(): Uint8Array {
    const whole = { left: 0, top: 0, width: this.width, height: this.height };
    return this.part(whole).data;
  }

  /** Throws `BrokenJpeg` if the data down to the last row of the rectangle are broken. */
  part({ left, top, width, height }: Rect): RgbImage {
    return newImage(width, height, (out) => {
      const { components, quantization, huffman, restartInterval, data } = this.headers;
      const file = allocated(this.bytes);
      const tables = huffman.map((table) => (table ? huffmanTable(table) : 0));
      const [luma] = components;
      const isGrey = components.length === 1;
      // The words of `Frame` in wasm/assembly/jpeg.ts.
      const words = [
        this.width,
        this.height,
        components.length,
        isGrey ? 1 : luma.across,
        isGrey ? 1 : luma.down,
        restartInterval,
        file + data,
        file + this.bytes.length,
        left,
        top,
        left + width,
        top + height,
        out,
        0,
        ...components.flatMap((c) => [
          quantizationTable(quantization[c.quantization]!),
          tables[c.dc],
          tables[4 + c.ac],
        ]),
      ];
      const frame = allocate(4 * words.length);
      wordsAt(frame, words.length).set(words);
      const planes = allocate(kernels().planeBytes(frame));
      wordsAt(frame, words.length)[13] = planes;
      if (!kernels().decodeJpeg(frame)) throw new BrokenJpeg('the data of a JPEG are broken');
    });
  }
}

function huffmanTable(segment: Uint8Array): number {
  const at = allocated(segment);
  const table = allocate(kernels().huffmanBytes());
  if (!kernels().huffmanTable(at, at + 16, table)) throw new BrokenJpeg('a table of a JPEG is no Huffman code');
  return table;
}

function quantizationTable(steps: Uint16Array): number {
  const at = allocate(4 * 64);
  const words = wordsAt(at, 64);
  for (let k = 0; k < 64; k++) words[k] = (zigzag[k] * 2) | (steps[k] << 16);
  return at;
}

/** The image of a JPEG file of the usual kind; null for any other, which may still be a good JPEG. */
export function readJpeg(bytes: Uint8Array): JpegImage | null {
  const headers = readHeaders(bytes);
  return headers && isUsual(headers) && endsWhole(bytes) ? new JpegImage(bytes, headers) : null;
}

/** Up to the first scan; null at the first thing that is unusual. */
function readHeaders(bytes: Uint8Array): Headers | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const headers: Headers = {
    width: 0,
    height: 0,
    components: [],
    quantization: [],
    huffman: Array.from({ length: 8 }, () => undefined),
    restartInterval: 0,
    data: 0,
  };
  let at = 2;
  while (at + 4 <= bytes.length) {
    const marker = bytes[at + 1];
    if (bytes[at] !== 0xff || marker < Marker.SOF0) return null;
    const end = at + 2 + view.getUint16(at + 2);
    if (end < at + 4 || end > bytes.length) return null;
    const segment = bytes.subarray(at + 4, end);
    at = end;
    if (marker === Marker.SOS) {
      headers.data = end;
      return readScan(segment, headers) ? headers : null;
    }
    if (!readSegment(marker, segment, headers)) return null;
  }
  return null;
}

/** False at what is unusual. */
function readSegment(marker: number, segment: Uint8Array, headers: Headers): boolean {
  switch (marker) {
    case Marker.SOF0:
    case Marker.SOF1:
      return headers.components.length === 0 && readFrame(segment, headers);
    case Marker.DHT:
      return readHuffman(segment, headers);
    case Marker.DQT:
      return readQuantization(segment, headers);
    case Marker.DRI:
      if (segment.length !== 2) return false;
      headers.restartInterval = (segment[0] << 8) | segment[1];
      return true;
    case APP1:
      return isUpright(segment);
    case APP14: // Adobe's marker may say that the components are no YCbCr.
      return false;
    default: // other APPn, and comments
      return marker >= 0xe0 && marker !== 0xff;
  }
}

function readFrame(segment: Uint8Array, headers: Headers): boolean {
  const count = segment[5];
  if (segment[0] !== 8 || segment.length !== 6 + 3 * count) return false;
  headers.height = (segment[1] << 8) | segment[2];
  headers.width = (segment[3] << 8) | segment[4];
  for (let i = 6; i < segment.length; i += 3) {
    const [id, sampling, quantization] = segment.subarray(i, i + 3);
    headers.components.push({ id, across: sampling >> 4, down: sampling & 15, quantization, dc: 0, ac: 0 });
  }
  return headers.width > 0 && headers.height > 0;
}

function readHuffman(segment: Uint8Array, { huffman }: Headers): boolean {
  for (let at = 0; at < segment.length;) {
    const [kind, number] = [segment[at] >> 4, segment[at] & 15];
    const symbols = segment.subarray(at + 1, at + 17).reduce((sum, count) => sum + count, 0);
    const end = at + 17 + symbols;
    if (kind > 1 || number > 3 || symbols > 256 || end > segment.length) return false;
    huffman[4 * kind + number] = segment.subarray(at + 1, end);
    at = end;
  }
  return true;
}

function readQuantization(segment: Uint8Array, { quantization }: Headers): boolean {
  for (let at = 0; at < segment.length;) {
    const [bytes, number] = [segment[at] >> 4 ? 2 : 1, segment[at] & 15];
    const end = at + 1 + 64 * bytes;
    if (number > 3 || end > segment.length) return false;
    const values = segment.subarray(at + 1, end);
    const steps = new Uint16Array(64); // `Uint16Array.from` takes a hundred times as long
    for (let k = 0; k < 64; k++) steps[k] = bytes === 1 ? values[k] : (values[2 * k] << 8) | values[2 * k + 1];
    quantization[number] = steps;
    at = end;
  }
  return true;
}

/** All components in one scan, of all coefficients. */
function readScan(segment: Uint8Array, { components }: Headers): boolean {
  if (components.length === 0 || segment[0] !== components.length || segment.length !== 4 + 2 * segment[0])
    return false;
  for (const [i, component] of components.entries()) {
    if (segment[1 + 2 * i] !== component.id) return false;
    component.dc = segment[2 + 2 * i] >> 4;
    component.ac = segment[2 + 2 * i] & 15;
  }
  const [first, last, approximation] = segment.subarray(-3);
  return first === 0 && last === 63 && approximation === 0;
}

/** No EXIF orientation but the usual one. */
function isUpright(segment: Uint8Array): boolean {
  if (String.fromCharCode(...segment.subarray(0, 6)) !== 'Exif\0\0') return true;
  const tags = readTiffTags(segment.subarray(6));
  return tags !== null && (tags.get(ORIENTATION)?.[0] ?? 1) === 1;
}

/** Grey, or YCbCr with chroma in full, halved across, or halved both ways. */
function isUsual({ width, components, quantization, huffman }: Headers): boolean {
  const hasTables = components.every(
    (c) => quantization[c.quantization] && c.dc < 4 && c.ac < 4 && huffman[c.dc] && huffman[4 + c.ac],
  );
  if (!hasTables) return false;
  if (components.length === 1) return true;
  const [luma, ...chroma] = components;
  // Chroma of one or two columns is not smoothed by libjpeg.
  const isKnown = [11, 21, 22].includes(10 * luma.across + luma.down) && width > 4 * luma.across;
  const areNumbered = components.every(({ id }, i) => id === i + 1);
  return components.length === 3 && areNumbered && isKnown && chroma.every((c) => c.across === 1 && c.down === 1);
}

/** Whether the file ends as it should, give or take bytes of zero. */
function endsWhole(bytes: Uint8Array): boolean {
  let end = bytes.length;
  while (end > 2 && bytes[end - 1] === 0) end--;
  return bytes[end - 2] === 0xff && bytes[end - 1] === Marker.EOI;
}
