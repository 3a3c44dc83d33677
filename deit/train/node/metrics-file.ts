/**
 * Node only. The figures of a run as it goes, one JSON object a line. A run of weeks has millions of lines, so that the file
 * is never in memory as a whole: it is read in pieces, and cut where it is, from its end.
 */
import { closeSync, fdatasyncSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { readAt } from '../../data/node/read-at.ts';

export const METRICS = 'metrics.jsonl';
const CHUNK = 2 ** 20;
/** Bytes of one line at most; what is longer is none of ours. */
const LONGEST = 2 ** 20;
const NEWLINE = 0x0a;

export type MetricsLine = Record<string, unknown>;

export class MetricsFile {
  private readonly fd: number;

  constructor(path: string) {
    this.fd = openSync(path, 'a+');
  }

  append(line: object): void {
    writeSync(this.fd, `${JSON.stringify(line)}\n`);
  }

  /** Cuts the file after the last line for which `keep` says yes: what follows are steps that a resumed run makes again. */
  cutAfter(keep: (line: MetricsLine) => boolean): void {
    for (const { text, end } of linesBackward(this.fd)) {
      const line = parseLine(text);
      if (!line || !keep(line)) continue;
      ftruncateSync(this.fd, end);
      // The last line may have lost nothing but its end.
      if (!text.endsWith('\n')) writeSync(this.fd, '\n');
      return;
    }
    ftruncateSync(this.fd, 0);
  }

  get isEmpty(): boolean {
    return fstatSync(this.fd).size === 0;
  }

  /** Makes what was appended durable. */
  flush(): void {
    fdatasyncSync(this.fd);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** The lines of a file from the last to the first, with the newline that ends them, and the place where they end. */
function* linesBackward(fd: number): Generator<{ text: string; end: number }> {
  let begin = fstatSync(fd).size;
  let bytes = Buffer.alloc(0);
  for (;;) {
    // The newline before the last line; one at the very end belongs to that line.
    const before = bytes.length < 2 ? -1 : bytes.lastIndexOf(NEWLINE, bytes.length - 2);
    if (before >= 0 || (begin === 0 && bytes.length > 0)) {
      yield { text: bytes.toString('utf8', before + 1), end: begin + bytes.length };
      bytes = bytes.subarray(0, before + 1);
      continue;
    }
    if (begin === 0) return;
    if (bytes.length > LONGEST) bytes = Buffer.alloc(0);
    const length = Math.min(CHUNK, begin);
    begin -= length;
    bytes = Buffer.concat([readAt(fd, begin, length), bytes]);
  }
}

/** The lines of a file that are JSON objects, in batches; none where there is no file. Other lines were cut off by a kill. */
export async function* readMetrics(path: string): AsyncGenerator<MetricsLine[]> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (!file) return;
  try {
    const chunk = Buffer.alloc(CHUNK);
    let rest = Buffer.alloc(0);
    for (;;) {
      const { bytesRead } = await file.read(chunk, 0, CHUNK);
      const bytes = Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
      const end = bytesRead === 0 ? bytes.length : bytes.lastIndexOf(NEWLINE) + 1;
      const lines = bytes.toString('utf8', 0, end).split('\n').map(parseLine);
      yield lines.filter((line) => line !== null);
      if (bytesRead === 0) return;
      rest = bytes.length - end > LONGEST ? Buffer.alloc(0) : bytes.subarray(end);
    }
  } finally {
    await file.close();
  }
}

function parseLine(text: string): MetricsLine | null {
  try {
    const line: unknown = JSON.parse(text);
    return typeof line === 'object' && line !== null && !Array.isArray(line) ? (line as MetricsLine) : null;
  } catch {
    return null;
  }
}
