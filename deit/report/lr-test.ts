/** The page of a learning-rate range test. Browser-safe. */
import type { LrSuggestion } from '../train/lr-finder.ts';
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
    note: 'Smoothed: exponential moving average of weight 0.98. The suggestion is where it falls fastest; its first ten points and the last are not looked at.',
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
