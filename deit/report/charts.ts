/** Curves of a report: what is drawn, as data that the page's script (deit/assets/report/charts.js) hands to uPlot. */
import { dataScript, html } from './html.ts';
import type { Html } from './html.ts';

export interface Series {
  readonly label: string;
  readonly values: readonly (number | null)[];
  /** Marks each value: for few values, such as evaluations. */
  readonly points?: boolean;
  readonly dash?: boolean;
  /** Drawn faintly and without an entry in the legend: the values of which the next series is the smoothed line. */
  readonly faint?: boolean;
  /** Number of the colour; by default the place in the list. */
  readonly color?: number;
}

export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly x: readonly number[];
  readonly series: readonly Series[];
  readonly percent?: boolean;
  /** A logarithmic axis; all of `x` is positive. */
  readonly xLog?: boolean;
  /** Values that stand wholly in the picture; without it, all do. */
  readonly yRange?: readonly [number, number];
  readonly note?: string;
}

/** Most points of one curve: more are averaged, or nobody could see or load them. */
const MOST_POINTS = 1000;

/** Averages rows in runs of equal length if there are more than can be drawn. Columns may hold nulls. */
export function thin(columns: readonly (readonly (number | null)[])[], most = MOST_POINTS): (number | null)[][] {
  const length = columns[0]?.length ?? 0;
  const run = Math.ceil(length / most);
  if (run <= 1) return columns.map((column) => [...column]);
  return columns.map((column) =>
    Array.from({ length: Math.ceil(length / run) }, (_, i) => {
      const part = column.slice(i * run, (i + 1) * run).filter((value) => value !== null);
      return part.length === 0 ? null : part.reduce((a, b) => a + b, 0) / part.length;
    }),
  );
}

/** Part of a curve over which `smooth` averages, by weights that fall off exponentially. */
const SMOOTHING = 1 / 25;

/**
 * The exponential moving average of a curve from its beginning, without the pull of its first value (divided by the sum of the
 * weights, as TensorBoard smooths); gaps stay.
 */
export function smooth(values: readonly (number | null)[], span = values.length * SMOOTHING): (number | null)[] {
  const decay = span / (1 + span);
  let [sum, weights] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = decay * sum + (1 - decay) * value;
    weights = decay * weights + (1 - decay);
    return sum / weights;
  });
}

/** Values up to which a curve is drawn as it is, with a mark each. */
export const FEW = 40;

/** A curve of many values as a smoothed line over a faint one of the values themselves; one of few as it is. */
export function noisy<Curve extends { readonly y: readonly (number | null)[] }>(
  curve: Curve,
): (Curve & { faint?: boolean })[] {
  if (curve.y.length < FEW) return [curve];
  return [
    { ...curve, faint: true },
    { ...curve, y: smooth(curve.y) },
  ];
}

/** Curves with x values of their own on one common axis. */
export function align(
  curves: readonly (Omit<Series, 'values'> & { x: readonly number[]; y: readonly (number | null)[] })[],
) {
  const x = [...new Set(curves.flatMap((curve) => curve.x))].sort((a, b) => a - b);
  const series = curves.map(({ x: own, y, ...rest }): Series => {
    const at = new Map(own.map((value, i) => [value, y[i]]));
    return { ...rest, values: x.map((value) => at.get(value) ?? null) };
  });
  return { x, series };
}

/** Numbers to six digits: a page with long runs stays small. */
const round = (value: number | null): number | null =>
  value === null || !Number.isFinite(value) ? null : Number(value.toPrecision(6));

/** The charts as figures with their data beside them; series without any value are left out, and so are empty charts. */
export function chartFigures(charts: readonly Chart[], prefix: string): Html {
  const figures = charts.flatMap(({ title, note, ...chart }, i) => {
    const series = chart.series.filter(({ values }) => values.some((value) => value !== null));
    if (series.length === 0) return [];
    const id = `${prefix}-${i}`;
    const data = {
      ...chart,
      x: chart.x.map(round),
      series: series.map((s) => ({ ...s, values: s.values.map(round) })),
    };
    const caption = note ? html`<figcaption>${note}</figcaption>` : null;
    return html`<figure>
      <h3>${title}</h3>
      <div data-chart="${id}"></div>
      ${caption}${dataScript(id, data)}
    </figure>`;
  });
  return html`<div class="charts">${figures}</div>`;
}
