/** The comparison as a picture: factor over the fastest WebGPU library, case by case, with the goals marked. */
import { ratios } from './results.ts';
import type { Comparison } from './results.ts';

const WIDTH = 820;
const LABELS = 232;
const BARS = 300;
const ROW = 26;
const BAR = 14;
const TOP = 64;
/** Longer bars are cut off, so that one does not make the others unreadable; their number tells. */
const LONGEST = 20;

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const ms = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(2));

/** An SVG that reads on light and on dark pages. */
export function chart(comparison: Comparison): string {
  const rows = ratios(comparison);
  const most = Math.min(LONGEST, Math.max(...rows.map(({ ratio, times }) => Math.max(ratio, times)), 1));
  const x = (factor: number): number => LABELS + (Math.min(factor, most) / most) * BARS;
  const height = TOP + rows.length * ROW + 30;
  const own = comparison.libraries.find(({ kind }) => kind === 'own');
  const rivals = comparison.libraries.filter(({ kind }) => kind === 'webgpu');
  // Both WebGPU backends of ONNX Runtime come in one package.
  const versions = [...new Set(rivals.map(({ label, version }) => `${label.replace(' jsep', '')} ${version}`))].join(
    ', ',
  );
  const parts = rows.map(({ label, ratio, times, ownMs, peerMs, peer }, i) => {
    const y = TOP + i * ROW;
    const goal = x(times).toFixed(1);
    return [
      `<text class="text" x="${LABELS - 8}" y="${y + 11}" text-anchor="end">${escape(label)}</text>`,
      `<rect class="bar" x="${LABELS}" y="${y}" width="${(x(ratio) - LABELS).toFixed(1)}" height="${BAR}" rx="2"/>`,
      `<line class="goal" x1="${goal}" x2="${goal}" y1="${y - 3}" y2="${y + BAR + 3}"/>`,
      `<text class="text" x="${(Math.max(x(ratio), x(times)) + 8).toFixed(1)}" y="${y + 11}">` +
        `<tspan class="strong">${ratio.toFixed(1)}×</tspan>  ${ms(ownMs)} ms, ${escape(peer)} ${ms(peerMs)} ms</text>`,
    ].join('\n');
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">
<title>How many times faster than the fastest WebGPU library deit-webgpu is</title>
<style>
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .strong { font-weight: 600; }
  .title { font-size: 15px; font-weight: 600; }
  .quiet { fill: #6e7781; }
  .bar { fill: #3b82f6; }
  .goal { stroke: #e16f24; stroke-width: 2; }
  .one { stroke: #8c959f; stroke-dasharray: 3 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .quiet { fill: #9da7b3; }
  }
</style>
<text class="title" x="8" y="20">deit-webgpu ${own?.version ?? ''}: times faster than the fastest WebGPU library, same adapter</text>
<text class="quiet" x="8" y="40">${escape(`${comparison.date}, ${comparison.adapter}; against ${versions}`)}</text>
<line class="one" x1="${x(1).toFixed(1)}" x2="${x(1).toFixed(1)}" y1="${TOP - 8}" y2="${TOP + rows.length * ROW - 4}"/>
${parts.join('\n')}
<line class="goal" x1="${LABELS}" x2="${LABELS}" y1="${height - 24}" y2="${height - 8}"/>
<text class="quiet" x="${LABELS + 8}" y="${height - 12}">goal; dashed: as fast as the fastest; bars end at ${LONGEST}×</text>
</svg>
`;
}
