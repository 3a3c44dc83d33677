/** BMP, by NetSurf's libnsbmp in WebAssembly. Node only. */
import type { RgbImage } from '../../dataset.ts';

export interface BmpHeader {
  readonly width: number;
  readonly height: number;
  /** What is unusual, if that makes it decode to other pixels than Pillow's; null for the common kinds. */
  readonly odd: string | null;
}

const PLAIN = 0;
const BIT_FIELDS = 3;
const BGR = [0xff0000, 0xff00, 0xff];

/** The header of a file that begins with `BM`; null if it is cut short. */
export function readBmpHeader(bytes: Uint8Array): BmpHeader | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  // The oldest header, of OS/2, has 12 bytes and 16-bit sides.
  const isOld = bytes.length >= 26 && view.getUint32(14, true) === 12;
  if (bytes.length < (isOld ? 26 : 54)) return null;
  if (isOld) {
    const [width, height, bits] = [18, 20, 24].map((at) => view.getUint16(at, true));
    return { width, height, odd: oddBmp(bits, PLAIN, BGR) };
  }
  const [width, height] = [view.getInt32(18, true), Math.abs(view.getInt32(22, true))];
  const [bits, compression] = [view.getUint16(28, true), view.getUint32(30, true)];
  const masks = bytes.length < 66 ? [] : [54, 58, 62].map((at) => view.getUint32(at, true));
  return { width, height, odd: oddBmp(bits, compression, masks) };
}

function oddBmp(bits: number, compression: number, masks: readonly number[]): string | null {
  const isBgr = bits === 32 && compression === BIT_FIELDS && masks.every((mask, i) => mask === BGR[i]);
  if (isBgr || (compression === PLAIN && [1, 4, 8, 24, 32].includes(bits))) return null;
  if (compression === 1 || compression === 2) return 'run-length coded';
  return compression === PLAIN || compression === BIT_FIELDS ? `${bits} bits a pixel` : `compression ${compression}`;
}

/** Throws where the file is cut short or broken. */
export async function decodeBmp(bytes: Uint8Array): Promise<RgbImage> {
  // Loaded when the first BMP is met: most data sets have none.
  const { decode } = await import('@cwasm/nsbmp');
  const { width, height, data: rgba } = decode(bytes);
  const data = new Uint8Array(width * height * 3);
  for (let i = 0, o = 0; o < data.length; i += 4, o += 3) {
    data[o] = rgba[i];
    data[o + 1] = rgba[i + 1];
    data[o + 2] = rgba[i + 2];
  }
  return { width, height, data };
}
