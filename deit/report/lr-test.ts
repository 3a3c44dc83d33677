/** The page of a learning-rate range test. Browser-safe. */
import type { LrPoint, LrSuggestion } from '../train/lr-finder.ts';
import { chartFigures } from './charts.ts';
import { formatNumber, html, renderPage } from './html.ts';
import type { PageAssets } from './html.ts';

export function renderLrTest(
  recipe: string,
  { points, suggestion, diverged }: LrSuggestion,
  assets: PageAssets,
): string {
  const chart = {
    title: 'Training loss over the learning rate',
    xLabel: 'optim.lr, logarithmic',
    xLog: true,
    x: points.map(({ lr }) => lr),
    series: [
      { label: 'loss', values: points.map(({ loss }) => loss), faint: true, color: 0 },
      { label: 'smoothed loss', values: points.map(({ smoothed }) => smoothed), color: 0 },
      { label: 'suggestion', values: points.map(({ lr, smoothed }) => (lr === suggestion ? smoothed : null)), points: true, color: 1 }, // prettier-ignore
    ],
    yRange: heights(points),
    note: 'faint: every step; line: exponential moving average of weight 0.98. The suggestion is where the line falls fastest; its first ten points and the last are not looked at.',
  };
  const words =
    suggestion === null
      ? html`<p>No suggestion: the loss fell at no rate.</p>`
      : html`<p>The smoothed loss falls fastest at <b>${formatNumber(suggestion)}</b>:</p>
          <pre data-copy>--set optim.lr=${Number(suggestion.toPrecision(2))}</pre>`;
  const end = diverged ? 'It diverged at the largest rate shown, which ended the test.' : 'It did not diverge.';
  const body = html`<h1>Learning rate for ${recipe}</h1>
    ${words}
    <p class="muted">${points.length} steps over rates that grow exponentially. ${end}</p>
    ${chartFigures([chart], 'lr')}`;
  return renderPage(`learning rate for ${recipe} · DeiT on WebGPU`, body, assets);
}

/**
 * Wide enough for all losses up to the least smoothed one, and half as much above them: the fall is what is looked for, and the
 * losses after it, of rates that are too large, would make it flat.
 */
function heights(points: readonly LrPoint[]): [number, number] {
  const least = Math.min(...points.map(({ smoothed }) => smoothed));
  const end = points.findIndex(({ smoothed }) => smoothed === least);
  const seen = points.slice(0, end + 1).flatMap(({ loss, smoothed }) => [loss, smoothed]);
  const [low, high] = [Math.min(...seen), Math.max(...seen)];
  const height = Math.max(high - low, 0.01 * Math.abs(high));
  return [low - 0.1 * height, high + 0.5 * height];
}
