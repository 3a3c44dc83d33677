import { readSync } from 'node:fs';

/** The bytes of an open file from `offset` on: `length` of them, or as many as there are. A single read may return fewer. */
export function readAt(handle: number, offset: number, length: number): Buffer<ArrayBuffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let read = 0;
  while (read < length) {
    const got = readSync(handle, bytes, read, length - read, offset + read);
    if (got === 0) break;
    read += got;
  }
  return bytes.subarray(0, read);
}
