/** The images that a request brings. */
import { formatOf } from '../data/image-format.ts';
import { READ_FORMATS } from '../data/node/index.ts';
import { Refusal } from './refusal.ts';

/** An image file as it was sent. */
export interface Upload {
  /** The name that it was sent with. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Images that one request may bring. */
export const MOST_UPLOADS = 64;

const EXPECTED =
  'multipart/form-data with one file or several, or an image alone as image/* or application/octet-stream';

/**
 * The images of a request: the files of a form, or its whole body. Throws a `Refusal`: 400 where there are none, 413 for too many,
 * 415 for another type of body and for files that are no images which are decoded here.
 */
export async function uploadsOf(request: Request): Promise<Upload[]> {
  const type = request.headers.get('content-type') ?? '';
  const encoding = request.headers.get('content-encoding') ?? 'identity';
  if (encoding !== 'identity')
    throw new Refusal(415, `A body is taken as it is, without content-encoding ${encoding}.`);
  const kind = type.split(';')[0].trim().toLowerCase();
  const uploads = /^image\/|^application\/octet-stream$/.test(kind)
    ? [{ name: 'image', bytes: new Uint8Array(await request.arrayBuffer()) }]
    : kind === 'multipart/form-data'
      ? await filesOf(request)
      : refuse(415, `The body is ${kind || 'of no type'}. Expected: ${EXPECTED}.`);
  if (uploads.length === 0) throw new Refusal(400, `There is no file in the form. Expected: ${EXPECTED}.`);
  for (const { name, bytes } of uploads) {
    if (bytes.length === 0) throw new Refusal(400, `${name} is empty.`);
    const format = formatOf(bytes);
    if (format === null) throw new Refusal(415, `${name} is no image. Expected: ${READ_FORMATS}.`);
    if ('other' in format) throw new Refusal(415, `${name} is ${format.other}. Expected: ${READ_FORMATS}.`);
  }
  return uploads;
}

function refuse(...refusal: ConstructorParameters<typeof Refusal>): never {
  throw new Refusal(...refusal);
}

async function filesOf(request: Request): Promise<Upload[]> {
  const form = await request
    .formData()
    .catch((error: unknown) => refuse(400, `The form cannot be read: ${String(error)}.`));
  const files = [...form.values()].filter((value) => typeof value !== 'string');
  if (files.length > MOST_UPLOADS) throw new Refusal(413, `${files.length} files in a form; at most ${MOST_UPLOADS}.`);
  return Promise.all(
    files.map(async (file) => ({ name: file.name || 'image', bytes: new Uint8Array(await file.arrayBuffer()) })),
  );
}
