/** PPM (P6) and PGM (P5): a header of numbers in text, then the samples. Browser-safe. */
import type { RgbImage } from '../../dataset.ts';

export interface NetpbmHeader {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  readonly maxValue: number;
  /** Where the samples begin. */
  readonly offset: number;
}

/** The header of a file that begins with P5 or P6; null if it is none. Comments run from # to the end of their line. */
export function readNetpbmHeader(bytes: Uint8Array): NetpbmHeader | null {
  const start = String.fromCharCode(...bytes.subarray(0, 1024));
  const gap = String.raw`(?:\s|#[^\n\r]*[\n\r])+`;
  const match = new RegExp(`^P([56])${gap}(\\d{1,9})${gap}(\\d{1,9})${gap}(\\d{1,5})\\s`).exec(start);
  if (!match) return null;
  const [width, height, maxValue] = match.slice(2).map(Number);
  return { width, height, maxValue, channels: match[1] === '6' ? 3 : 1, offset: match[0].length };
}

/** Samples of 8 bits to RGB; null if there are too few. */
export function decodeNetpbm(bytes: Uint8Array, { width, height, channels, offset }: NetpbmHeader): RgbImage | null {
  const samples = bytes.subarray(offset, offset + width * height * channels);
  if (samples.length < width * height * channels) return null;
  if (channels === 3) return { width, height, data: samples.slice() };
  const data = new Uint8Array(samples.length * 3);
  samples.forEach((grey, i) => data.fill(grey, 3 * i, 3 * i + 3));
  return { width, height, data };
}
