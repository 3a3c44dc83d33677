/** Pictures to files and to HTML, with `sharp`. Node only. */
import sharp from 'sharp';
import type { RgbImage } from '../../data/index.ts';

const open = ({ data, width, height }: RgbImage) => sharp(data, { raw: { width, height, channels: 3 } });

/** A PNG file's bytes. */
export const toPng = (picture: RgbImage): Promise<Buffer> => open(picture).png().toBuffer();

/** A picture inside an HTML page: lossless where it is small. More effort (4 by default) takes three times as long and saves no byte. */
export async function toDataUrl(picture: RgbImage): Promise<string> {
  const small = picture.width * picture.height <= 128 * 128;
  const bytes = await open(picture)
    .webp(small ? { lossless: true, effort: 1 } : { quality: 80 })
    .toBuffer();
  return `data:image/webp;base64,${bytes.toString('base64')}`;
}
