/** How large an image may be; the rest is refused before its pixels are decoded. Browser-safe. */
import { DeitError } from '../../engine/index.ts';

export const decodeLimits = {
  /** Pixels of the shorter side at least, of the longer side at most. */
  minSide: 4,
  maxSide: 16_384,
  /** 192 MB of RGB. */
  maxPixels: 64 * 2 ** 20,
  /** Longer side over shorter side: bounds what resizing the shorter side makes of the longer one. */
  maxAspect: 64,
  maxFileBytes: 256 * 2 ** 20,
} as const;

/** Throws `bad-data` for a file of more bytes than are read; `name` is what the error calls it. */
export function checkFileBytes(name: string, bytes: number): void {
  if (bytes <= decodeLimits.maxFileBytes) return;
  throw new DeitError('bad-data', 'An image file is too large.', {
    where: name,
    expected: `at most ${decodeLimits.maxFileBytes} bytes`,
    found: `${bytes} bytes`,
  });
}

/** Throws `bad-data` for sides, in pixels, that are not decoded. */
export function checkSize(name: string, width: number, height: number): void {
  const { minSide, maxSide, maxPixels, maxAspect } = decodeLimits;
  const [shorter, longer] = [Math.min(width, height), Math.max(width, height)];
  const isUsable =
    shorter >= minSide && longer <= maxSide && width * height <= maxPixels && longer <= shorter * maxAspect;
  if (isUsable) return;
  throw new DeitError('bad-data', 'The size of an image is outside what can be used.', {
    where: name,
    expected: `sides from ${minSide} to ${maxSide}, at most ${maxPixels} pixels and ${maxAspect} times as long as wide`,
    found: `${width} x ${height}`,
    fix: 'Resize or remove the image, or let unusable images be skipped.',
  });
}
