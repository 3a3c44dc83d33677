/**
 * Node only. Checksums in the metadata of safetensors files, which any other reader takes for free text. One flipped bit in a
 * weight is seen by nothing else: it is a number like any other.
 */
import { createHash } from 'node:crypto';
import { DeitError } from '../../kernels/lib/errors.ts';

/** SHA-256, in hexadecimal digits, of the bytes after the header. */
const DATA = 'deit-webgpu-data-sha256';
/**
 * The same of a JSON text: [[key, value] of all other metadata of ours (`deit-webgpu...`), [name, dtype, shape] of all
 * tensors], each in order of keys and names.
 */
const HEADER = 'deit-webgpu-header-sha256';
const OURS = 'deit-webgpu';

type Metadata = ReadonlyMap<string, string>;
type Described = readonly { readonly name: string; readonly dtype: string; readonly shape: readonly number[] }[];

/** Sums over pieces as they come. */
export class DataChecksum {
  private readonly hash = createHash('sha256');

  add(piece: Uint8Array): void {
    this.hash.update(piece);
  }

  digest(): string {
    return this.hash.digest('hex');
  }
}

/** The metadata with the checksums of a file of these tensors, whose data has `digest`. */
export function withChecksums(metadata: Metadata, tensors: Described, digest: string): Map<string, string> {
  const own = withoutChecksums(metadata);
  return new Map([...own, [HEADER, headerDigest(own, tensors)], [DATA, digest]]);
}

export const withoutChecksums = (metadata: Metadata): Map<string, string> =>
  new Map([...metadata].filter(([key]) => key !== DATA && key !== HEADER));

/** Whether a file says what its checksums are. Files of other programs do not. */
export const hasChecksums = (metadata: Metadata): boolean => metadata.has(DATA) || metadata.has(HEADER);

/** Throws `file-corrupt` where the file is not the one that was written. `digest` is that of its data. */
export function verifyChecksums(metadata: Metadata, tensors: Described, digest: string, where: string): void {
  for (const [key, found] of [
    [HEADER, headerDigest(withoutChecksums(metadata), tensors)],
    [DATA, digest],
  ] as const) {
    const expected = metadata.get(key);
    if (expected === found) continue;
    throw new DeitError('file-corrupt', 'The file is damaged, or was changed: it does not have its checksum.', {
      where: `${where}, ${key}`,
      expected: expected ?? '(missing)',
      found,
      fix: `restore the file from a copy; a program that changes it on purpose has to leave out ${DATA} and ${HEADER}`,
    });
  }
}

function headerDigest(metadata: Metadata, tensors: Described): string {
  const order = ([a]: readonly unknown[], [b]: readonly unknown[]): number => (a! < b! ? -1 : 1);
  const ours = [...metadata].filter(([key]) => key.startsWith(OURS)).sort(order);
  const described = tensors.map(({ name, dtype, shape }) => [name, dtype, shape] as const).sort(order);
  return createHash('sha256')
    .update(JSON.stringify([ours, described]))
    .digest('hex');
}
