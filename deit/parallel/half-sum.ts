import { f16ToNumber, numberToF16 } from '../../engine/index.ts';
import type { Communicator } from './communicator.ts';

let values: Float32Array | null = null;

/** The value of every f16 bit pattern. */
const f16Values = (): Float32Array => (values ??= Float32Array.from({ length: 65536 }, (_, bits) => f16ToNumber(bits)));

/**
 * Sums f16 numbers over all ranks, as bit patterns, in place and the same bits on every rank. MPI has no such type: each
 * rank gets one part from all, adds it up in double precision, rounds once, and gives it to all. That moves
 * as many bytes as a ring does.
 */
export class HalfSum {
  private readonly parts: Uint16Array<ArrayBuffer>;
  private readonly received: Uint16Array<ArrayBuffer>;
  private readonly own: Uint16Array<ArrayBuffer>;

  /** For `length` numbers; the memory is allocated here, once. */
  constructor(
    private readonly ranks: Communicator,
    length: number,
  ) {
    const part = Math.ceil(length / ranks.size);
    this.parts = new Uint16Array(part * ranks.size);
    this.received = new Uint16Array(part * ranks.size);
    this.own = new Uint16Array(part);
  }

  /** What to add up is written here, and the sums are read from here. */
  get numbers(): Uint16Array<ArrayBuffer> {
    return this.parts;
  }

  async sum(): Promise<void> {
    const { ranks, parts, received, own } = this;
    await ranks.allToAll(bytesOf(parts), bytesOf(received));
    const value = f16Values();
    for (let i = 0; i < own.length; i++) {
      let sum = 0;
      for (let at = i; at < received.length; at += own.length) sum += value[received[at]];
      own[i] = numberToF16(sum);
    }
    await ranks.allGather(bytesOf(own), bytesOf(parts));
  }
}

const bytesOf = ({ buffer }: Uint16Array<ArrayBuffer>): Uint8Array<ArrayBuffer> => new Uint8Array(buffer);
