/** Which format the bytes of a file are in, whatever its name. Browser-safe. */

/** Formats that are decoded, by the names that `sharp` has for its own. */
export type ReadFormat = 'jpeg' | 'png' | 'webp' | 'tiff' | 'gif' | 'bmp' | 'netpbm';

const text = (bytes: Uint8Array, from: number, to: number): string => String.fromCharCode(...bytes.subarray(from, to)); // a few bytes

/**
 * The format of a file's bytes, by its first ones: one that is decoded, or else what it is called ("AVIF"); null if it is
 * none that is known. Nothing but the decoded formats reaches a decoder, and so no SVG, whatever its file is called.
 */
export function formatOf(bytes: Uint8Array): { read: ReadFormat } | { other: string } | null {
  const start = text(bytes, 0, 12);
  const begins = (...magics: string[]): boolean => magics.some((magic) => start.startsWith(magic));
  if (begins('\xff\xd8\xff')) return { read: 'jpeg' };
  if (begins('\x89PNG\r\n\x1a\n')) return { read: 'png' };
  if (begins('RIFF') && start.endsWith('WEBP')) return { read: 'webp' };
  if (begins('II*\0', 'MM\0*', 'II+\0', 'MM\0+')) return { read: 'tiff' };
  if (begins('GIF87a', 'GIF89a')) return { read: 'gif' };
  if (begins('BM')) return { read: 'bmp' };
  if (/^P[56]\s/.test(start)) return { read: 'netpbm' };
  if (/^P[1-47]\s/.test(start)) return { other: 'a kind of PNM other than P5 and P6' };
  if (start.slice(4, 8) === 'ftyp') return { other: brandOf(text(bytes, 8, 64)) };
  if (begins('\0\0\0\x0cjP  ', '\xff\x4f\xff\x51')) return { other: 'JPEG 2000' };
  if (begins('\xff\x0a', '\0\0\0\x0cJXL ')) return { other: 'JPEG XL' };
  if (begins('\0\0\x01\0', '\0\0\x02\0')) return { other: 'ICO' };
  if (begins('8BPS')) return { other: 'PSD' };
  if (begins('%PDF')) return { other: 'PDF' };
  if (/<svg|<!DOCTYPE svg/i.test(text(bytes, 0, 1024))) return { other: 'SVG' };
  if (/^\ufeff?\s*<|^\xef\xbb\xbf\s*</.test(start)) return { other: 'HTML or XML' };
  return null;
}

/** The format of an ISO media file, by its brands. */
function brandOf(brands: string): string {
  if (/avi[fs]/.test(brands)) return 'AVIF';
  return /hei[cxms]|hev[cxms]|mif1|msf1/.test(brands) ? 'HEIC' : 'a video or an unknown ISO media format';
}
