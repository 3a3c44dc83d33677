/** TIFF: which of its many kinds decode to Pillow's pixels. Browser-safe. */

const Tag = {
  bits: 258,
  compression: 259,
  photometric: 262,
  samples: 277,
  palette: 320,
  extra: 338,
  format: 339,
} as const;
const JPEG = 7;

/** Bytes of a value of each type that these tags have: byte, short, long. */
const SIZES: Readonly<Record<number, 1 | 2 | 4>> = { 1: 1, 3: 2, 4: 4 };

/**
 * What is unusual about the first picture of a TIFF file, if that makes it decode to other pixels than Pillow's (or Pillow
 * does not read it either); null for all common kinds.
 */
export function oddTiff(tags: TiffTags): string | null {
  const first = firstOf(tags);
  const [bits, format, photometric] = [first(Tag.bits, 1), first(Tag.format, 1), first(Tag.photometric, -1)];
  const [samples, extra] = [first(Tag.samples, 1), first(Tag.extra, 0)];
  const isPremultiplied = extra === 1;
  const isPlain = format === 1 && bits <= 8;
  const kind = `${bits} bits a sample${format === 3 ? ' as floats' : format === 2 ? ' with signs' : ''}`;
  switch (photometric) {
    case 0:
    case 1:
      if (samples > 1) return bits === 8 && format === 1 && !isPremultiplied ? null : `grey with alpha, ${kind}`;
      return isPlain || (bits === 16 && format === 1 && photometric === 1) || (bits === 32 && format <= 3)
        ? null
        : `grey, ${kind}`;
    case 2:
      return format === 1 && (bits === 8 || (bits === 16 && !(samples > 3 && isPremultiplied))) ? null : `RGB, ${kind}`;
    case 3:
      // The standard's palettes have 16 bits a colour; decoders guess differently at those that were written with 8.
      if (tags.get(Tag.palette)?.every((value) => value < 256)) return 'a palette of 8-bit colours';
      return bits === 8 && format === 1 && samples === 1 ? null : `a palette, ${kind}`;
    case 5:
      return bits === 8 && format === 1 && samples === 4 ? null : `CMYK, ${samples} samples, ${kind}`;
    case 6:
      return first(Tag.compression, 1) === JPEG ? null : 'YCbCr without JPEG compression';
    default:
      return photometric === 8 ? 'CIE L*a*b*' : `colour space ${photometric}`;
  }
}

/** Whether the first picture is grey with 16 bits. */
export function isDeepGreyTiff(tags: TiffTags): boolean {
  const first = firstOf(tags);
  return first(Tag.photometric, -1) <= 1 && first(Tag.bits, 1) === 16 && first(Tag.samples, 1) === 1;
}

const firstOf =
  (tags: TiffTags) =>
  (tag: number, otherwise: number): number =>
    tags.get(tag)?.[0] ?? otherwise;

/** Numbers by their tags. */
export type TiffTags = ReadonlyMap<number, readonly number[]>;

/** The numbers of the first directory's tags; null if there is none. */
export function readTiffTags(bytes: Uint8Array): TiffTags | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const little = bytes[0] === 0x49;
  const read = (at: number, size: number): number => {
    if (size === 8) return Number(view.getBigUint64(at, little));
    return size === 4 ? view.getUint32(at, little) : size === 2 ? view.getUint16(at, little) : view.getUint8(at);
  };
  try {
    // BigTIFF has 8-byte offsets and counts.
    const isBig = read(2, 2) === 43;
    const [wide, entryBytes] = isBig ? [8, 20] : [4, 12];
    const directory = read(isBig ? 8 : 4, wide);
    const countBytes = isBig ? 8 : 2;
    const tags = new Map<number, number[]>();
    for (let i = 0; i < read(directory, countBytes) && i < 4096; i++) {
      const at = directory + countBytes + i * entryBytes;
      const size = SIZES[read(at + 2, 2)];
      if (size === undefined) continue;
      const count = Math.min(read(at + 4, wide), 768);
      const values = at + 4 + wide;
      const from = count * size <= wide ? values : read(values, wide);
      tags.set(
        read(at, 2),
        Array.from({ length: count }, (_, k) => read(from + k * size, size)),
      );
    }
    return tags;
  } catch (error) {
    if (error instanceof RangeError) return null; // beyond the end of the file
    throw error;
  }
}
