// Draws the charts of a report: each element with data-chart names the JSON script that holds its series.
(() => {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const colors = () => {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(name).trim();
    return { text: get('--muted'), grid: get('--line'), series: [0, 1, 2, 3, 4, 5, 6, 7].map((i) => get(`--series-${i}`)) };
  };
  const short = (value) =>
    value === null || value === undefined ? '–' : Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(1) : String(+value.toPrecision(4));
  const draw = (element) => {
    const { x, xLabel, series, percent, height } = JSON.parse(document.getElementById(element.dataset.chart).textContent);
    const { text, grid, series: palette } = colors();
    const format = (value) => (percent && value !== null && value !== undefined ? `${(100 * value).toFixed(1)} %` : short(value));
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: '12px system-ui, sans-serif' };
    const options = {
      width: element.clientWidth,
      height: height ?? 240,
      scales: { x: { time: false } },
      axes: [
        { ...axis, label: xLabel, labelSize: 20, labelFont: '12px system-ui, sans-serif', values: (_, ticks) => ticks.map(short) },
        { ...axis, size: 62, values: (_, ticks) => ticks.map(format) },
      ],
      series: [
        { label: xLabel, value: (_, value) => short(value) },
        ...series.map(({ label, points, color, dash }, i) => ({
          label,
          stroke: palette[(color ?? i) % palette.length],
          width: 1.75,
          dash: dash ? [6, 4] : undefined,
          spanGaps: true,
          points: { show: points === true || x.length < 40, size: points ? 8 : 5, fill: palette[(color ?? i) % palette.length] },
          value: (_, value) => format(value),
        })),
      ],
    };
    element.replaceChildren();
    const plot = new uPlot(options, [x, ...series.map(({ values }) => values)], element);
    element.uplot = plot;
  };
  const elements = [...document.querySelectorAll('[data-chart]')];
  const drawAll = () => elements.forEach(draw);
  drawAll();
  dark.addEventListener('change', drawAll);
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const { uplot } = target;
      if (uplot && uplot.width !== target.clientWidth) uplot.setSize({ width: target.clientWidth, height: uplot.height });
    }
  });
  elements.forEach((element) => observer.observe(element));
})();
