/** What the name of a file says, and the order of names. */

/** Endings of the files that are decoded. */
const IMAGE = /\.(jpe?g|jpe|jfif|png|webp|tiff?|gif|bmp|ppm|pgm)$/i;

/** Endings of pictures that are not decoded: they are counted and named, so that nobody misses them in vain. */
const OTHER: Readonly<Record<string, string>> = {
  avif: 'AVIF',
  heic: 'HEIC',
  heif: 'HEIF',
  hif: 'HEIF',
  svg: 'SVG',
  svgz: 'SVG',
  jp2: 'JPEG 2000',
  j2k: 'JPEG 2000',
  jxl: 'JPEG XL',
  jxr: 'JPEG XR',
  dib: 'DIB',
  ico: 'ICO',
  tga: 'TGA',
  psd: 'PSD',
  pcx: 'PCX',
  pbm: 'PBM',
  pnm: 'PNM',
  exr: 'OpenEXR',
  hdr: 'Radiance HDR',
  dcm: 'DICOM',
  eps: 'EPS',
  apng: 'APNG',
  ...Object.fromEntries(
    ['dng', 'cr2', 'cr3', 'crw', 'nef', 'nrw', 'arw', 'srf', 'sr2', 'orf', 'rw2', 'raf', 'pef', 'raw'].map((raw) => [
      raw,
      'RAW',
    ]),
  ),
};

/** The formats that are decoded, for messages. */
export const READ_FORMATS = 'JPEG, PNG, WebP, TIFF, GIF, BMP, PPM or PGM';

/** Whether a file is taken for an image by its name. */
export const isImageName = (name: string): boolean => IMAGE.test(name);

/** The format of a picture that is not decoded, by the file's name; undefined for what is decoded, or is no picture. */
export const otherFormatOf = (name: string): string | undefined => {
  const ending = /\.([^.]+)$/.exec(name)?.[1].toLowerCase();
  return ending !== undefined && Object.hasOwn(OTHER, ending) ? OTHER[ending] : undefined;
};

/**
 * Sorts names by their Unicode characters, as Python (and so torchvision) does. JavaScript's own order is by UTF-16 units,
 * which differs where there are characters beyond U+FFFF, such as emoji. In place.
 */
export function sortNames(names: string[]): string[] {
  return names.some((name) => /[\ud800-\udfff]/.test(name)) ? names.sort(byCharacter) : names.sort();
}

function byCharacter(a: string, b: string): number {
  for (let i = 0; i < a.length && i < b.length;) {
    const [x, y] = [a.codePointAt(i)!, b.codePointAt(i)!];
    if (x !== y) return x - y;
    i += x > 0xffff ? 2 : 1;
  }
  return a.length - b.length;
}

/** The first ten names, and how many more there are. */
export function someNames(names: readonly string[]): string {
  const more = names.length - 10;
  return `${names.slice(0, 10).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
