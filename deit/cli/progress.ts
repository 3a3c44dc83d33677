import { MultiBar } from 'cli-progress';
import type { SingleBar } from 'cli-progress';

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

/** The bar on the terminal, if there is one. */
let live: MultiBar | null = null;

/** Writes a line to standard error: in place of the live bar, which is then drawn again below it. */
export function tell(line: string): void {
  if (!live) {
    process.stderr.write(`${line}\n`);
    return;
  }
  live.log(`${line}\n`);
  live.update();
}

/** Takes the live bar down, whatever becomes of what it showed. */
export function endProgress(): void {
  live?.stop();
  live = null;
}

// The cursor comes back, however the process ends.
process.once('exit', endProgress);

/**
 * A live line on a terminal, and a plain line now and then elsewhere. Writes to standard error. `text` is shown until the first
 * update.
 */
export class Progress {
  private readonly bar: SingleBar | null;
  private readonly shown: MultiBar | null;
  private printed = -1;

  constructor(
    private readonly label: string,
    private total: number,
    first = 0,
    text = '',
  ) {
    endProgress();
    // One bar in a MultiBar, which has a place for messages.
    live = process.stderr.isTTY
      ? new MultiBar({
          format: `${label} {bar} {value}/{total} {text}`,
          barsize: 20,
          hideCursor: true,
          stream: process.stderr,
          autopadding: true,
          // Signals are for the commands; the bar is cut to the terminal's width here, so that messages may wrap.
          gracefulExit: false,
          linewrap: true,
          forceRedraw: true,
        })
      : null;
    this.shown = live;
    this.bar = live?.create(total, first, { text }) ?? null;
    if (!this.bar && text) tell(`${label} ${first}/${total} ${text}`);
  }

  /** The number of steps has become known. */
  setTotal(total: number): void {
    this.total = total;
    this.bar?.setTotal(total);
  }

  /** Says what is done between two updates, where there is a bar. */
  say(text: string): void {
    this.bar?.update({ text });
  }

  update(value: number, text: string): void {
    if (this.bar) {
      this.bar.update(value, { text });
      return;
    }
    const line = Math.floor((value / this.total) * PLAIN_LINES);
    if (line === this.printed && value < this.total) return;
    this.printed = line;
    tell(`${this.label} ${value}/${this.total} ${text}`);
  }

  stop(): void {
    if (this.shown === live) endProgress();
  }
}
