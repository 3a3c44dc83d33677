/** The listing of a run's data, kept in its folder under its checksum. Node only. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, pipeline } from 'node:stream';
import { pipeline as finished } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { writeFileAtomically } from '../../../engine/node.ts';
import type { Dataset } from '../../data/index.ts';
import { listData } from '../../data/node/index.ts';
import { listingChanges } from './listing-changes.ts';

export class DataListing {
  private constructor(
    /** Of the text, before it is compressed. */
    readonly sha256: string,
    private readonly packed: readonly Buffer[],
  ) {}

  /** Of the data as it is now. */
  static async of({
    train,
    validation: val,
  }: {
    readonly train: Dataset;
    readonly validation: Dataset;
  }): Promise<DataListing> {
    const hash = createHash('sha256');
    const packed: Buffer[] = [];
    await finished(
      async function* () {
        for await (const lines of listData({ train, val })) {
          hash.update(lines);
          yield lines;
        }
      },
      createGzip({ level: 1 }),
      async (pieces: AsyncIterable<Buffer>) => {
        for await (const piece of pieces) packed.push(piece);
      },
    );
    return new DataListing(hash.digest('hex'), packed);
  }

  /** Writes it into a run folder, where it is not there yet. */
  async keep(folder: string): Promise<void> {
    const path = join(folder, listingName(this.sha256));
    if (!existsSync(path)) await writeFileAtomically(path, this.packed);
  }

  /** What has changed since the listing with this checksum: a text for each kind of change. */
  async changesSince(sha256: string, folder: string): Promise<string[]> {
    if (sha256 === this.sha256) return [];
    const path = join(folder, listingName(sha256));
    try {
      const changes = await listingChanges(unpacked(createReadStream(path)), unpacked(Readable.from(this.packed)));
      if (changes.length > 0) return changes;
    } catch {
      // The checksum alone tells that the data is another one.
    }
    return [`the data is not the same; what has changed cannot be told without the listing ${path}`];
  }
}

/** The text of a compressed listing, in pieces. */
function unpacked(packed: Readable): AsyncIterable<string> {
  // An error destroys both streams, and is thrown to whoever reads.
  return pipeline(packed, createGunzip(), () => undefined).setEncoding('utf8') as AsyncIterable<string>;
}

const listingName = (sha256: string): string => `data-${sha256.slice(0, 16)}.jsonl.gz`;

/** Whether a file of a run folder is the listing of its data. */
export const isListing = (name: string): boolean => /^data-[0-9a-f]{16}\.jsonl\.gz$/.test(name);
