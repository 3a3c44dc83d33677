/**
 * Image files to 8-bit RGB: the pixels that Pillow's Image.open(f).convert('RGB') gives, of the first frame or page, save
 * that EXIF orientation is applied and 16-bit grey keeps its high byte, which is noted (Pillow cuts it at 255). Alpha is
 * dropped, colour profiles are ignored, CMYK is converted by (255 - C)(255 - K) / 255 as Pillow does. The usual JPEG is read by
 * ../jpeg.ts, other JPEG, PNG, WebP, TIFF and GIF by `sharp`, the rest as formats/ says; what would decode to other pixels is refused by name. AVIF is
 * such: libheif repeats chroma samples where Pillow's libavif interpolates. Node only.
 */
import { closeSync, constants, fstatSync, openSync, realpathSync } from 'node:fs';
import { isAbsolute, relative } from 'node:path';
import sharp from 'sharp';
import type { Sharp } from 'sharp';
import { DeitError } from '../../../engine/index.ts';
import type { DecodedImage, RgbImage } from '../dataset.ts';
import { firstFrame, flattenGif } from '../gif-frame.ts';
import { formatOf } from '../image-format.ts';
import type { ReadFormat } from '../image-format.ts';
import { checkFileBytes, checkSize, decodeLimits } from '../image-limits.ts';
import { BrokenJpeg, readJpeg } from '../jpeg.ts';
import { READ_FORMATS } from './file-names.ts';
import { decodeBmp, readBmpHeader } from './formats/bmp.ts';
import { decodeNetpbm, readNetpbmHeader } from './formats/netpbm.ts';
import { isDeepGreyTiff, oddTiff, readTiffTags } from './formats/tiff.ts';
import { readAt } from './read-at.ts';

const DEEP_GREY = '16-bit grey, of which the high byte is taken (Pillow cuts values at 255)';

// Decoding runs in several threads of ours; libvips needs none of its own, and every image is read once.
sharp.concurrency(1);
sharp.cache(false);

/**
 * Decodes a file. With `root`, a file that lies outside that folder once links are followed is refused.
 * Throws `file-unreadable` (missing, no file), `file-corrupt` (not a whole image) or `bad-data` (beyond the limits,
 * outside the folder); each names the file.
 */
export async function decodeImage(path: string, root?: string): Promise<DecodedImage> {
  return decodeBytes(readImageFile(path, root), path);
}

/**
 * The bytes of an image file, as for `decodeImage`. Without threads of libuv's in between, which take more time than reading:
 * decoding keeps this thread busy anyway.
 */
export function readImageFile(path: string, root?: string): Uint8Array {
  try {
    if (root !== undefined) checkInside(path, root);
    return readSmallFile(path);
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

function readSmallFile(path: string): Uint8Array {
  const file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)); // a pipe does not make it wait
  try {
    const info = fstatSync(file);
    if (!info.isFile()) throw new DeitError('file-unreadable', 'This is not a regular file.', { where: path });
    checkFileBytes(path, info.size);
    return readAt(file, 0, info.size);
  } finally {
    closeSync(file);
  }
}

function checkInside(path: string, root: string): void {
  const [file, folder] = [realpathSync.native(path), realpathSync.native(root)];
  const way = relative(folder, file);
  if (way !== '' && !way.startsWith('..') && !isAbsolute(way)) return;
  throw new DeitError('bad-data', 'An image lies outside the folder of its data set.', {
    where: path,
    expected: `a file inside ${folder}`,
    found: file,
    fix: 'Copy the image into the folder, or allow links out of it with data.links=follow.',
  });
}

/** Decodes the bytes of a file; `name` is what errors call it. */
export const decodeBytes = (bytes: Uint8Array, name: string): Promise<DecodedImage> =>
  withImage(bytes, name, (image) => {
    const { width, height, data, note } = image;
    return note === undefined ? { width, height, data } : { width, height, data, note };
  });

/**
 * What `use` makes of the image of a file's bytes, which is decoded as far as `use` asks for it. `use` may be called a second
 * time, if it turned out on the way that the file is of a kind that must be decoded as a whole.
 */
export async function withImage<Result>(
  bytes: Uint8Array,
  name: string,
  use: (image: DecodedImage) => Result,
): Promise<Result> {
  const jpeg = bytes[0] === 0xff && bytes[1] === 0xd8 ? readJpeg(bytes) : null;
  if (jpeg) {
    checkSize(name, jpeg.width, jpeg.height);
    try {
      return use(jpeg);
    } catch (error) {
      if (!(error instanceof BrokenJpeg)) throw error;
    }
  }
  return use(await decodeWhole(bytes, name));
}

async function decodeWhole(bytes: Uint8Array, name: string): Promise<DecodedImage> {
  try {
    const format = formatOf(bytes);
    if (format === null) throw new Error('bytes of no image format');
    if ('other' in format) throw notRead(name, format.other);
    if (format.read === 'bmp') return await bmp(bytes, name);
    if (format.read === 'netpbm') return netpbm(bytes, name);
    return await bySharp(bytes, format.read, name);
  } catch (cause) {
    if (cause instanceof DeitError) throw cause;
    throw new DeitError('file-corrupt', 'An image cannot be decoded.', {
      where: name,
      expected: `a whole ${READ_FORMATS} image`,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'Replace or remove the file, or let unreadable images be skipped.',
      cause,
    });
  }
}

async function bySharp(bytes: Uint8Array, format: ReadFormat, name: string): Promise<DecodedImage> {
  const tags = format === 'tiff' ? readTiffTags(bytes) : null;
  if (format === 'tiff') {
    const odd = tags ? oddTiff(tags) : 'no directory';
    if (odd !== null) throw notRead(name, `TIFF with ${odd}`);
  }
  const input = sharp(bytes, {
    autoOrient: true,
    ignoreIcc: true,
    failOn: 'error',
    limitInputPixels: decodeLimits.maxPixels,
  });
  const { width, height, space } = await input.metadata();
  checkSize(name, width, height);
  // A palette's colours behind transparency are not known to sharp, which shows such pixels black.
  if (format === 'gif') return gif(bytes, await pixels(input.toColourspace('srgb').ensureAlpha(), 4));
  if (space === 'cmyk') {
    const cmyk = await pixels(input.pipelineColourspace('cmyk').toColourspace('cmyk'), 4);
    return { ...cmyk, data: cmykToRgb(cmyk.data) };
  }
  const image = await pixels(input.toColourspace('srgb').removeAlpha(), 3);
  const isDeepGrey = tags ? isDeepGreyTiff(tags) : format === 'png' && bytes[24] === 16 && bytes[25] === 0;
  return isDeepGrey ? { ...image, note: DEEP_GREY } : image;
}

async function pixels(image: Sharp, channels: number): Promise<RgbImage> {
  const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  if (info.channels !== channels) throw new Error(`${info.channels} channels where ${channels} were expected`);
  const { width, height } = info;
  return { width, height, data: new Uint8Array(data.buffer, data.byteOffset, data.length) };
}

function gif(bytes: Uint8Array, screen: RgbImage): RgbImage {
  const frame = firstFrame(bytes);
  const image = frame && flattenGif(screen, frame);
  if (!image) throw new Error('a transparent pixel without a colour in the palette');
  return image;
}

async function bmp(bytes: Uint8Array, name: string): Promise<RgbImage> {
  const header = readBmpHeader(bytes);
  if (!header) throw new Error('the header is cut short');
  if (header.odd !== null) throw notRead(name, `BMP, ${header.odd}`);
  checkSize(name, header.width, header.height);
  return decodeBmp(bytes);
}

function netpbm(bytes: Uint8Array, name: string): RgbImage {
  const header = readNetpbmHeader(bytes);
  if (!header) throw new Error('the header is cut short');
  if (header.maxValue !== 255) throw notRead(name, `PPM or PGM with values to ${header.maxValue}`);
  checkSize(name, header.width, header.height);
  const image = decodeNetpbm(bytes, header);
  if (!image) throw new Error('the samples are cut short');
  return image;
}

const notRead = (name: string, found: string): DeitError =>
  new DeitError('file-corrupt', 'This image format is not read.', {
    where: name,
    expected: READ_FORMATS,
    found,
    fix: 'Convert the image, or let unreadable images be skipped.',
  });

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
