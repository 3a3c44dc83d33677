/**
 * Node only. The figures of a run as a TensorBoard event file: records of TensorFlow's TFRecord format, each an Event message
 * (deit/assets/proto/tensorboard.proto) between a length and checksums, as
 * https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details states them.
 */
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { encode, messageType } from '../../export/node/proto.ts';
import type { MetricsLine } from './metrics-file.ts';

/** Folder of the event file in a run folder: `tensorboard --logdir RUN`. */
export const TENSORBOARD = 'tensorboard';

/** What is no figure of its own: the place on the axis, and what follows from others. */
const NO_SCALARS = new Set(['step', 'steps', 'secondsLeft', 'images']);

/** Bytes around the content of a record: its length and the checksum of that, and the checksum of the content. */
const [HEAD, TAIL] = [12, 4];

interface EventMessage {
  readonly wallTime: number;
  readonly step?: number | string;
  readonly fileVersion?: string;
  readonly summary?: { readonly value: readonly { readonly tag: string; readonly simpleValue: number }[] };
}

export class TensorBoardFile {
  private readonly type = messageType('tensorboard.proto', 'tensorboard.Event');
  private readonly path: string;
  private fd: number;

  /** Goes on with the event file in the folder, or begins one. */
  constructor(folder: string) {
    mkdirSync(folder, { recursive: true });
    const seconds = Math.floor(Date.now() / 1000);
    const found = readdirSync(folder).find((name) => name.startsWith('events.out.tfevents.'));
    this.path = join(folder, found ?? `events.out.tfevents.${seconds}.deit-webgpu`);
    this.fd = openSync(this.path, 'a');
    if (!found) this.write({ wallTime: Date.now() / 1000, fileVersion: 'brain.Event:2' });
  }

  /** Numbers of a line of the metrics as scalars `student/loss`, `student/held_out/average` and so on, at its step. */
  append(line: MetricsLine): void {
    const value = scalarsOf(line).map(([tag, simpleValue]) => ({ tag, simpleValue }));
    if (value.length > 0) this.write({ wallTime: Date.now() / 1000, step: Number(line.step), summary: { value } });
  }

  /** Drops what a resumed run makes again: the events of lines for which `keep` says no, and a last record cut off by a kill. */
  cut(keep: (line: MetricsLine) => boolean): void {
    closeSync(this.fd);
    const bytes = readFileSync(this.path);
    const kept = recordsOf(bytes).filter((record) => {
      const content = record.subarray(HEAD, record.length - TAIL);
      const { step, summary } = this.type.toObject(this.type.decode(content), { longs: Number }) as EventMessage;
      const tag = summary?.value[0]?.tag;
      return tag === undefined || keep({ role: tag.slice(0, tag.indexOf('/')), step: step ?? 0 });
    });
    const rewritten = `${this.path}.tmp`;
    writeFileSync(rewritten, Buffer.concat(kept));
    renameSync(rewritten, this.path);
    this.fd = openSync(this.path, 'a');
  }

  close(): void {
    closeSync(this.fd);
  }

  private write(event: EventMessage): void {
    writeSync(this.fd, record(encode(this.type, event)));
  }
}

/** Finite numbers, and those of the objects in a line: held-out accuracy, the moving average, the loss scale. */
function scalarsOf({ role, ...figures }: MetricsLine): [tag: string, value: number][] {
  const scalars: [string, number][] = [];
  const isHeldOut = typeof figures.accuracy === 'object';
  const add = (prefix: string, values: Record<string, unknown>): void => {
    for (const [name, value] of Object.entries(values)) {
      if (NO_SCALARS.has(name)) continue;
      if (typeof value === 'number' && Number.isFinite(value)) scalars.push([`${prefix}/${name}`, value]);
      else if (typeof value === 'object' && value !== null) {
        const group = isHeldOut ? (name === 'accuracy' ? 'held_out' : `held_out_${name}`) : name;
        add(`${prefix}/${group}`, value as Record<string, unknown>);
      }
    }
  };
  add(String(role), figures);
  return scalars;
}

function record(content: Uint8Array): Buffer {
  const whole = Buffer.alloc(HEAD + content.length + TAIL);
  whole.writeBigUInt64LE(BigInt(content.length), 0);
  whole.writeUInt32LE(maskedCrc(whole.subarray(0, 8)), 8);
  whole.set(content, HEAD);
  whole.writeUInt32LE(maskedCrc(content), HEAD + content.length);
  return whole;
}

/** The records of a file, whole ones alone. */
function recordsOf(bytes: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at + HEAD + TAIL <= bytes.length;) {
    const end = at + HEAD + Number(bytes.readBigUInt64LE(at)) + TAIL;
    if (end > bytes.length) break;
    records.push(bytes.subarray(at, end));
    at = end;
  }
  return records;
}

/** CRC-32C (Castagnoli), reflected polynomial 0x82f63b78; by byte. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Rotated by 15 bits and offset, as TFRecord has its checksums. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
