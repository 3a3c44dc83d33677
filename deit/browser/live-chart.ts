import uPlot from 'uplot';

/** Curves that grow while something trains. */
export class LiveChart {
  private readonly plot: uPlot;
  private readonly columns: (number | null)[][];

  constructor(place: HTMLElement, xLabel: string, labels: readonly string[]) {
    // Asked for at every redraw: the page may turn dark meanwhile.
    const color = (name: string) => (): string =>
      getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = {
      stroke: color('--muted'),
      grid: { stroke: color('--line'), width: 1 },
      ticks: { stroke: color('--line'), width: 1 },
    };
    this.columns = [[], ...labels.map(() => [])];
    const series = labels.map((label, i) => ({ label, stroke: color(`--series-${i}`), width: 1.75, spanGaps: true }));
    this.plot = new uPlot(
      {
        width: place.clientWidth || 320,
        height: 220,
        scales: { x: { time: false } },
        axes: [{ ...axis, label: xLabel, labelSize: 20 }, axis],
        series: [{ label: xLabel }, ...series],
      },
      this.columns as uPlot.AlignedData,
      place,
    );
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.plot.redraw());
    new ResizeObserver(() => this.plot.setSize({ width: place.clientWidth, height: 220 })).observe(place);
  }

  add(x: number, values: readonly (number | null)[]): void {
    [x, ...values].forEach((value, i) => this.columns[i].push(value));
    this.plot.setData(this.columns as uPlot.AlignedData);
  }
}
