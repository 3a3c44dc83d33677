/**
 * Image files to 8-bit RGB with `sharp`: the pixels that Pillow's Image.open(f).convert('RGB') gives, save that EXIF
 * orientation is applied and 16-bit grey keeps its high byte (Pillow saturates it). Alpha is dropped, colour profiles are
 * ignored, CMYK is converted by (255 - C)(255 - K) / 255 as Pillow does. Node only.
 */
import { realpath, readFile, stat } from 'node:fs/promises';
import { isAbsolute, relative } from 'node:path';
import sharp from 'sharp';
import type { Sharp } from 'sharp';
import { DeitError } from '../../../engine/index.ts';
import type { RgbImage } from '../dataset.ts';

/** What an image must be like to be decoded; the rest is refused before its pixels are. */
export const decodeLimits = {
  formats: ['jpeg', 'png', 'webp'],
  /** Pixels of the shorter side at least, of the longer side at most. */
  minSide: 4,
  maxSide: 16_384,
  /** 192 MB of RGB. */
  maxPixels: 64 * 2 ** 20,
  /** Longer side over shorter side: bounds what resizing the shorter side makes of the longer one. */
  maxAspect: 64,
  maxFileBytes: 256 * 2 ** 20,
} as const;

// Decoding runs in several threads of ours; libvips needs none of its own, and every image is read once.
sharp.concurrency(1);
sharp.cache(false);

/**
 * Decodes a file. With `root`, a file that lies outside that folder once links are followed is refused.
 * Throws `file-unreadable` (missing, no file), `file-corrupt` (not a whole image) or `bad-data` (beyond the limits,
 * outside the folder); each names the file.
 */
export async function decodeImage(path: string, root?: string): Promise<RgbImage> {
  return decodeBytes(await readImageFile(path, root), path);
}

async function readImageFile(path: string, root?: string): Promise<Buffer> {
  try {
    if (root !== undefined) await checkInside(path, root);
    const { size, isFile } = await stat(path).then((s) => ({ size: s.size, isFile: s.isFile() }));
    if (!isFile) throw new DeitError('file-unreadable', 'This is not a regular file.', { where: path });
    if (size > decodeLimits.maxFileBytes) {
      throw new DeitError('bad-data', 'An image file is too large.', {
        where: path,
        expected: `at most ${decodeLimits.maxFileBytes} bytes`,
        found: `${size} bytes`,
      });
    }
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof DeitError) throw cause;
    throw new DeitError('file-unreadable', 'An image file cannot be read.', {
      where: path,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'Check that the file exists and may be read.',
      cause,
    });
  }
}

async function checkInside(path: string, root: string): Promise<void> {
  const [file, folder] = await Promise.all([realpath(path), realpath(root)]);
  const way = relative(folder, file);
  if (way !== '' && !way.startsWith('..') && !isAbsolute(way)) return;
  throw new DeitError('bad-data', 'An image lies outside the folder of its data set.', {
    where: path,
    expected: `a file inside ${folder}`,
    found: file,
    fix: 'Copy the image into the folder, or allow links out of it (allowOutside).',
  });
}

/** Decodes the bytes of a file; `name` is what errors call it. */
export async function decodeBytes(bytes: Uint8Array, name: string): Promise<RgbImage> {
  try {
    const input = sharp(bytes, {
      autoOrient: true,
      ignoreIcc: true,
      failOn: 'error',
      limitInputPixels: decodeLimits.maxPixels,
    });
    const { format, width, height, space } = await input.metadata();
    checkHeader(name, format, width, height);
    const colours: Sharp = space === 'cmyk' ? input.pipelineColourspace('cmyk').toColourspace('cmyk') : input;
    const rgb = space === 'cmyk' ? colours : colours.toColourspace('srgb').removeAlpha();
    const { data, info } = await rgb.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    if (info.channels === 3)
      return {
        width: info.width,
        height: info.height,
        data: new Uint8Array(data.buffer, data.byteOffset, data.length),
      };
    if (space === 'cmyk' && info.channels === 4) {
      return { width: info.width, height: info.height, data: cmykToRgb(data) };
    }
    throw new Error(`${info.channels} channels in colour space ${space}`);
  } catch (cause) {
    if (cause instanceof DeitError) throw cause;
    throw new DeitError('file-corrupt', 'An image cannot be decoded.', {
      where: name,
      expected: 'a whole JPEG, PNG or WebP image',
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'Replace or remove the file, or let unreadable images be skipped.',
      cause,
    });
  }
}

function checkHeader(name: string, format: string, width: number, height: number): void {
  const { formats, minSide, maxSide, maxPixels, maxAspect } = decodeLimits;
  if (!formats.some((known) => known === format)) {
    throw new DeitError('file-corrupt', 'This image format is not read.', {
      where: name,
      expected: 'JPEG, PNG or WebP',
      found: format,
      fix: 'Convert the image.',
    });
  }
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

/** Pillow's CMYK to RGB: white less black less ink, products divided by 255 and rounded. */
function cmykToRgb(cmyk: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((cmyk.length / 4) * 3);
  for (let i = 0, o = 0; i < cmyk.length; i += 4) {
    const white = 255 - cmyk[i + 3];
    for (let ink = 0; ink < 3; ink++) {
      const product = cmyk[i + ink] * white + 128;
      rgb[o++] = white - (((product >> 8) + product) >> 8);
    }
  }
  return rgb;
}
