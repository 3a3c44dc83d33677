import { SingleBar } from 'cli-progress';

/** Seconds as `4:05` or `1:02:09`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number): string => String(n).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** Lines between updates when the output is no terminal. */
const PLAIN_LINES = 20;

/** A live line on a terminal, and a plain line now and then elsewhere. Writes to standard error. */
export class Progress {
  private readonly bar: SingleBar | null;
  private printed = -1;

  constructor(
    private readonly label: string,
    private total: number,
    first = 0,
  ) {
    this.bar = process.stderr.isTTY
      ? new SingleBar({
          format: `${label} {bar} {value}/{total} {text}`,
          barsize: 20,
          hideCursor: true,
          stream: process.stderr,
          autopadding: true,
        })
      : null;
    this.bar?.start(total, first, { text: '' });
  }

  /** The number of steps has become known. */
  setTotal(total: number): void {
    this.total = total;
    this.bar?.setTotal(total);
  }

  update(value: number, text: string): void {
    if (this.bar) {
      this.bar.update(value, { text });
      return;
    }
    const line = Math.floor((value / this.total) * PLAIN_LINES);
    if (line === this.printed && value < this.total) return;
    this.printed = line;
    process.stderr.write(`${this.label} ${value}/${this.total} ${text}\n`);
  }

  stop(): void {
    this.bar?.stop();
  }
}
