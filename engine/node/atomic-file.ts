/** Node only. */
import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DeitError } from '../../kernels/lib/errors.ts';

/**
 * Writes the pieces one after the other to a temporary file beside `path`, flushes it to the disk, and renames it: at
 * any moment `path` is absent, the old file or the whole new one. Throws `file-unwritable`, or the `DeitError` that ended the
 * pieces, and leaves no temporary file.
 */
export async function writeFileAtomically(
  path: string,
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = await open(temporary, 'w');
    try {
      for await (const piece of pieces) await writeFully(file, piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (cause) {
    await unlink(temporary).catch(() => {});
    if (cause instanceof DeitError) throw cause;
    throw new DeitError('file-unwritable', 'The file could not be written; what was there before is untouched.', {
      where: path,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'check that the folder exists, that it is writable, and that the disk has room',
      cause,
    });
  }
}

/** One write call takes at most 2 GiB, and may take less than it was given. */
async function writeFully(file: Awaited<ReturnType<typeof open>>, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) {
    const length = Math.min(bytes.byteLength - at, 2 ** 30);
    at += (await file.write(bytes, at, length)).bytesWritten;
  }
}

/** Makes new names in a folder durable. Some systems cannot flush a folder; there they are as durable as the system makes them. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => null);
  await handle?.sync().catch(() => {});
  await handle?.close();
}
