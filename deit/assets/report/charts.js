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
  const nearest = (values, at) => {
    for (let off = 0; off < values.length; off++) {
      if (values[at - off] != null) return at - off;
      if (values[at + off] != null) return at + off;
    }
    return at;
  };
  const showLast = (u) => u.setLegend({ idxs: u.data.map((values) => nearest(values, values.length - 1)) }, false);
  const draw = (element) => {
    const { x, xLabel, xLog, yRange, series, percent, height } = JSON.parse(document.getElementById(element.dataset.chart).textContent);
    const { text, grid, series: palette } = colors();
    const format = (value) => (percent && value !== null && value !== undefined ? `${(100 * value).toFixed(1)} %` : short(value));
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: '12px system-ui, sans-serif' };
    const options = {
      width: element.clientWidth,
      height: height ?? 240,
      // A single evaluation stands in the middle.
      scales: { x: { time: false, distr: xLog ? 3 : 1, range: (_, min, max) => (min === max ? [min - 1, max + 1] : [min, max]) }, ...(yRange && { y: { range: yRange } }) },
      cursor: { dataIdx: (u, s, hovered) => nearest(u.data[s], hovered) },
      // Without a cursor the legend shows the last values.
      hooks: { ready: [showLast], setCursor: [(u) => u.cursor.left < 0 && showLast(u)] },
      axes: [
        { ...axis, label: xLabel, labelSize: 20, labelFont: '12px system-ui, sans-serif', values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : short(tick))) },
        { ...axis, size: 62, values: (_, ticks) => ticks.map(format) },
      ],
      series: [
        { label: xLabel, value: (_, value) => short(value) },
        ...series.map(({ label, points, color, dash, faint }, i) => ({
          label,
          stroke: palette[(color ?? i) % palette.length],
          width: faint ? 1 : 1.75,
          alpha: faint ? 0.3 : 1,
          dash: dash && !faint ? [6, 4] : undefined,
          spanGaps: true,
          points: { show: points === true || (!faint && x.length < 40), size: points ? 9 : 5, fill: palette[(color ?? i) % palette.length] },
          value: (_, value) => format(value),
        })),
      ],
    };
    element.replaceChildren();
    const plot = new uPlot(options, [x, ...series.map(({ values }) => values)], element);
    element.uplot = plot;
    // A faint curve is named by the smoothed one over it.
    const entries = [...element.querySelectorAll('.u-legend .u-series')];
    series.forEach(({ faint }, i) => faint && entries[i + 1].remove());
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
  for (const source of document.querySelectorAll('[data-copy]')) {
    const button = document.createElement('button');
    button.textContent = 'Copy';
    button.type = 'button';
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
      } catch {
        getSelection().selectAllChildren(source);
        document.execCommand('copy');
      }
      button.textContent = 'Copied';
    });
    source.after(button);
  }
})();
