/** Values with their spreads, one below the other, as a drawing. Browser-safe. */
import { html } from './html.ts';
import type { Html } from './html.ts';

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** From where to where the error bar reaches; null for none. */
  readonly low: number | null;
  readonly high: number | null;
}

const [WIDTH, LEFT, RIGHT, ROW, TOP] = [760, 300, 70, 24, 8];
const LONGEST = 44;

/** Shares from 0 to 1 on a common axis that reaches a little beyond them. */
export function errorBars(bars: readonly Bar[], show: (share: number) => string): Html {
  const ends = bars.flatMap(({ value, low, high }) => [value, low ?? value, high ?? value]);
  const [least, most] = [Math.min(...ends), Math.max(...ends)];
  const margin = Math.max(0.005, 0.06 * (most - least));
  const [from, to] = [Math.max(0, least - margin), Math.min(1, most + margin)];
  const at = (share: number): string => (LEFT + ((share - from) / (to - from)) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const height = TOP + ROW * (bars.length + 1);
  const ticks = Array.from({ length: 5 }, (_, i) => from + ((to - from) * i) / 4);
  const bottom = TOP + ROW * bars.length;
  return html`<svg class="bars" viewBox="0 0 ${WIDTH} ${height}" role="img">
    ${ticks.map(
      (tick) =>
        html`<line class="grid" x1="${at(tick)}" x2="${at(tick)}" y1="${TOP}" y2="${bottom}" />
          <text class="tick" x="${at(tick)}" y="${bottom + 16}">${show(tick)}</text>`,
    )}
    ${bars.map(({ label, value, low, high }, i) => {
      const y = TOP + ROW * (i + 0.5);
      const text = label.length > LONGEST ? `${label.slice(0, LONGEST - 1)}…` : label;
      const whisker =
        low === null || high === null
          ? ''
          : html`<path
              class="whisker"
              d="M${at(low)} ${y - 5}v10M${at(low)} ${y}H${at(high)}M${at(high)} ${y - 5}v10"
            />`;
      return html`<g
        ><title>${label}: ${show(value)}</title
        ><text class="name" x="${LEFT - 12}" y="${y + 4}">${text}</text>${whisker}<circle
          cx="${at(value)}"
          cy="${y}"
          r="4"
        /><text class="value" x="${WIDTH - RIGHT + 8}" y="${y + 4}">${show(value)}</text></g
      >`;
    })}
  </svg>`;
}
