import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { probabilities } from '../../deit/logits.ts';
import { createModel } from '../../deit/models/index.ts';
import { kernelFamilies } from '../../deit/report/analysis.ts';
import { cosine, confusion, disagreement, topConfusions } from '../../deit/report/answers.ts';
import type { Answers } from '../../deit/report/answers.ts';
import { attentionMaps, attentionRollout } from '../../deit/report/attention.ts';
import { align, chartFigures, thin } from '../../deit/report/charts.ts';
import { differingSettings, renderComparison } from '../../deit/report/compare.ts';
import { heatColor, overlay, tile } from '../../deit/report/heat.ts';
import { html, renderPage } from '../../deit/report/html.ts';
import { pageAssets, readRun, writeReport } from '../../deit/report/node/run-files.ts';
import { uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

describe('answers of several predictors', () => {
  // Four images of three classes: truth, and two predictors.
  const answers: Answers = {
    names: ['truth', 'class', 'average'],
    classes: 3,
    given: [
      [0, 1, 2, 2],
      [0, 1, 1, 1],
      [0, 2, 2, 2],
    ],
  };

  it('disagree on the share of images on which they differ', () => {
    expect(disagreement(answers)).toEqual([
      [0, 0.5, 0.25],
      [0.5, 0, 0.75],
      [0.25, 0.75, 0],
    ]);
  });

  it('are counted by true class and answer', () => {
    expect(confusion(answers, 1)).toEqual([
      [1, 0, 0],
      [0, 1, 0],
      [0, 2, 0],
    ]);
    expect(topConfusions(answers, 1)).toEqual([{ truth: 2, answer: 1, images: 2 }]);
  });

  it('have probabilities and cosines in closed form', () => {
    expect([...probabilities([9, 9, Math.log(1), Math.log(3)], 1, 2)]).toEqual(
      [0.25, 0.75].map((p) => expect.closeTo(p, 12) as number),
    );
    // Logits beyond what exp can take.
    expect([...probabilities([2000, 2000], 0, 2)]).toEqual([0.5, 0.5]);
    expect(cosine([1, 0, 1, 1], 0, 1, 2)).toBeCloseTo(Math.SQRT1_2, 12);
  });
});

describe('attention', () => {
  const engine = useEngine({ seed: 3 });

  it('rollout is a row of the product of (mean + identity) / 2', () => {
    const [heads, n, depth] = [2, 3, 3];
    const layers = Array.from({ length: depth }, (_, layer) => {
      const weights = uniform(heads * n * n, layer + 1).map((value) => Math.abs(value) + 0.1);
      for (let row = 0; row < heads * n; row++) {
        const sum = weights.slice(row * n, (row + 1) * n).reduce((a, b) => a + b);
        for (let j = 0; j < n; j++) weights[row * n + j] /= sum;
      }
      return weights;
    });
    // The definition, with whole matrices, from the first block on.
    let product = Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => Number(i === j)));
    for (const weights of layers) {
      const a = product.map((_, i) =>
        product.map((_, j) => (weights[i * n + j] + weights[n * n + i * n + j]) / 4 + Number(i === j) / 2),
      );
      product = a.map((row) => row.map((_, j) => row.reduce((sum, value, k) => sum + value * product[k][j], 0)));
    }
    for (const row of [0, 1]) {
      const found = [...attentionRollout(layers, heads, n, row)];
      expect(found).toEqual(product[row].map((value) => expect.closeTo(value, 12) as number));
      // Rows were normalised in f32.
      expect(found.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
    }
  });

  it('maps of a distilled model are shares of the patches, and its logits those of a plain pass', async () => {
    const model = createModel(
      engine(),
      'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 depth=2 num_classes=10 embed_dim=48',
    );
    model.eval();
    const pixels = uniform(3 * 32 * 32, 5, 2);
    const maps = await attentionMaps(engine(), model, pixels);
    expect(maps.side).toBe(4);
    expect(maps.tokens.map(({ token }) => token)).toEqual(['class', 'distillation']);
    for (const { layers, rollout } of maps.tokens) {
      expect(layers.map((heads) => heads.map((map) => map.length))).toEqual([
        [16, 16, 16],
        [16, 16, 16],
      ]);
      for (const map of [...layers.flat(), rollout]) {
        const sum = map.reduce((a, b) => a + b);
        expect(sum).toBeGreaterThan(0);
        expect(sum).toBeLessThan(1);
      }
    }
    const plain = engine().scope(() =>
      engine().noGrad(() => {
        const { cls, dist } = model.heads(engine().tensor(pixels, [1, 3, 32, 32]));
        return [cls.read(), dist!.read()];
      }),
    );
    const [cls, dist] = await Promise.all(plain);
    expect([...maps.cls]).toEqual([...cls]);
    expect([...maps.dist!]).toEqual([...dist]);
  });

  it('refuses a network without attention', async () => {
    const model = createModel(engine(), 'regnety_002 num_classes=10');
    await expect(attentionMaps(engine(), model, new Float32Array(3 * 32 * 32))).rejects.toThrow('no attention');
  });
});

describe('pictures', () => {
  it('go from dark to light', () => {
    expect(heatColor(0)).toEqual([0, 0, 4]);
    expect(heatColor(1)).toEqual([252, 255, 164]);
    expect(heatColor(2)).toEqual(heatColor(1));
  });

  it('show a map over a photo, lightest where it is largest', () => {
    const photo = { width: 4, height: 4, data: new Uint8Array(48).fill(100) };
    const drawn = overlay(photo, [0, 0, 0, 1], 2);
    const brightness = (x: number, y: number): number => drawn.data[3 * (4 * y + x)] + drawn.data[3 * (4 * y + x) + 1];
    expect(brightness(3, 3)).toBeGreaterThan(brightness(0, 0));
    // 100 * 0.65 + 0 * 0.35, the darkest colour over the photo.
    expect(drawn.data[0]).toBe(65);
  });

  it('are put side by side with white between them', () => {
    const one = { width: 1, height: 1, data: Uint8Array.of(1, 2, 3) };
    const tiled = tile([[one, one]], 1);
    expect([tiled.width, tiled.height]).toEqual([3, 1]);
    expect([...tiled.data]).toEqual([1, 2, 3, 255, 255, 255, 1, 2, 3]);
  });
});

describe('curves', () => {
  it('are averaged in equal runs, gaps left out', () => {
    expect(
      thin(
        [
          [1, 2, 3, 4, 5],
          [null, 4, null, null, 6],
        ],
        3,
      ),
    ).toEqual([
      [1.5, 3.5, 5],
      [4, null, 6],
    ]);
  });

  it('share one axis', () => {
    const { x, series } = align([
      { label: 'a', x: [1, 3], y: [10, 30] },
      { label: 'b', x: [2], y: [20] },
    ]);
    expect(x).toEqual([1, 2, 3]);
    expect(series.map(({ values }) => values)).toEqual([
      [10, null, 30],
      [null, 20, null],
    ]);
  });

  it('cannot break out of the page', () => {
    const chart = { title: '<b>', xLabel: '</script><!--\u2028&', x: [1], series: [{ label: '<', values: [1] }] };
    const text = chartFigures([chart], 'c').toString();
    expect(text).not.toContain('<b>');
    expect(text.match(/<\/script>/g)).toHaveLength(1);
    // The script reads what was written, and nothing in it ends the element or begins a comment or a line.
    const data = /<script[^>]*>(.*?)<\/script>/s.exec(text)![1];
    expect(data).not.toMatch(/[<>&\u2028]/);
    expect(JSON.parse(data)).toMatchObject({ xLabel: chart.xLabel, series: [{ label: '<' }] });
  });
});

describe('a template of HTML', () => {
  it('escapes what is put into it, in texts and in attributes, and what only looks like HTML', () => {
    const text = `&<>"'\``;
    const escaped = '&#38;&#60;&#62;&#34;&#39;&#96;';
    expect(html`<i title="${text}">${text}</i>`.toString()).toBe(`<i title="${escaped}">${escaped}</i>`);
    expect(html`${['<a>', html`<b>${1}</b>`, null]}`.toString()).toBe('&#60;a&#62;<b>1</b>');
    const parsed = JSON.parse('{"markup": "<b>", "text": "<b>", "html": "<b>"}') as string;
    expect(html`${parsed}`.toString()).toBe('[object Object]');
  });

  it('shows control characters and overrides of the direction of text as unreadable', () => {
    expect(html`${'a\0b\u001bc\u202egpj\u2069\nd\te'}`.toString()).toBe('a\ufffdb\ufffdc\ufffdgpj\ufffd\nd\te');
  });

  it('lets in nothing but the scripts and styles of the page', () => {
    const text = renderPage('"</title>', html``, { styles: [], scripts: [{ text: 'f()', sha256: 'x' }] });
    expect(text.match(/<\/title>/g)).toHaveLength(1);
    const policy = /Content-Security-Policy" content="([^"]*)"/.exec(text)![1].replaceAll('&#39;', "'");
    expect(policy).toBe(
      "default-src 'none'; script-src 'sha256-x'; style-src 'none'; img-src data:; base-uri 'none'; form-action 'none'",
    );
  });
});

it('kernel families sum over their variants, the longest first', () => {
  const time = (kernel: string, durationNs: number) => ({
    kernel,
    where: '',
    startNs: 0,
    durationNs,
    flops: 10,
    bytes: 5,
  });
  expect(
    kernelFamilies([time('softmax.forward/a', 1e6), time('matmul/b', 5e6), time('softmax.backward', 2e6)]),
  ).toEqual([
    { family: 'matmul', dispatches: 1, ms: 5, flops: 10, bytes: 5 },
    { family: 'softmax', dispatches: 2, ms: 3, flops: 20, bytes: 10 },
  ]);
});

describe('the report of a run', () => {
  const step = (number: number) => ({
    role: 'student',
    loss: 2 / number,
    lossLabel: 2,
    lossDistillation: null,
    accuracy: 0.5,
    accuracyDistillation: null,
    gradNorm: 1,
    nonFinite: 0,
    step: number,
    steps: 2,
    epoch: 0,
    lr: 0.1,
    imagesPerSecond: 9,
    secondsLeft: 0,
  });
  const measured = { class: 0.25, distillation: null, average: 0.25, top5: 0.75, loss: 1.5, images: 4 };
  /** A folder as an interrupted run leaves it, with a line cut off. */
  function folder(seed: number): string {
    const path = mkdtempSync(join(tmpdir(), 'deit-run-'));
    const recipe = { model: { name: 'deit_tiny_patch16_224' }, run: { seed }, data: { path: 'a<b' } };
    writeFileSync(
      join(path, 'config.json'),
      JSON.stringify({ version: '1', command: ['train', '--data', "it's"], name: 'x', recipe }),
    );
    const lines = [step(1), step(2), { role: 'student', step: 2, accuracy: measured, ema: null }];
    writeFileSync(join(path, 'metrics.jsonl'), `${lines.map((line) => JSON.stringify(line)).join('\n')}\n{"role":"stu`);
    return path;
  }

  it('is one page that fetches nothing, with the command that repeats the run', async () => {
    const html = readFileSync(await writeReport(folder(1)), 'utf8');
    expect(html).toContain('not finished');
    expect(html).toContain(`deit train --data &#39;it&#39;\\&#39;&#39;s&#39;`);
    expect(html).toContain('a&#60;b');
    expect(html).not.toMatch(/(?:src|href)="(?!data:)/);
    expect(html).not.toMatch(/@import|url\((?!["']?data:)/);
  });

  it('comes with a table of all figures', async () => {
    const path = folder(1);
    await writeReport(path);
    const [titles, first, second] = readFileSync(join(path, 'metrics.csv'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => line.split(','));
    const cell = (row: string[], title: string): string => row[titles.indexOf(title)];
    expect([cell(first, 'loss'), cell(first, 'heldOut.top5'), cell(first, 'lossDistillation')]).toEqual(['2', '', '']);
    expect([cell(second, 'loss'), cell(second, 'heldOut.top5'), cell(second, 'heldOut.loss')]).toEqual([
      '1',
      '0.75',
      '1.5',
    ]);
    expect(readFileSync(join(path, 'metrics.csv'), 'utf8').split('\n')).toHaveLength(4);
  });

  it('of a long run is made from means of its steps, and the table has them all', async () => {
    const path = folder(1);
    const count = 40_000;
    const lines = Array.from({ length: count }, (_, i) => JSON.stringify({ ...step(i + 1), loss: i + 1 }));
    const evaluations = [5, count].map((at) =>
      JSON.stringify({ role: 'student', step: at, accuracy: measured, ema: null }),
    );
    lines.splice(5, 0, evaluations[0]);
    writeFileSync(join(path, 'metrics.jsonl'), [...lines, evaluations[1], ''].join('\n'));
    const { steps, evaluations: kept } = await readRun(path);
    // 40,000 in runs of 8 are 5,000; runs of 4 would be more than are kept.
    expect(steps).toHaveLength(5000);
    expect(steps.map(({ loss }) => loss)).toEqual(steps.map((_, i) => 8 * i + 4.5));
    expect(steps.map(({ step: at }) => at)).toEqual(steps.map((_, i) => 8 * i + 4.5));
    expect(kept.map(({ step: at }) => at)).toEqual([5, count]);
    await writeReport(path);
    const rows = readFileSync(join(path, 'metrics.csv'), 'utf8').trimEnd().split('\n');
    expect(rows).toHaveLength(count + 1);
    expect(rows.flatMap((row, i) => (row.includes('0.75') ? [i] : []))).toEqual([5, count]);
  });

  it('leaves out what is no line of figures', async () => {
    const path = folder(1);
    const wrong = [
      7,
      null,
      [],
      'x',
      {},
      { role: 'x', step: 1, accuracy: 1 },
      { role: 'student', step: '1', accuracy: 1 },
    ];
    const broken = [
      { role: 'student', step: 3, accuracy: { class: '<b>' } },
      { ...step(3), loss: '<script>' },
    ];
    writeFileSync(join(path, 'metrics.jsonl'), [...wrong, ...broken].map((line) => JSON.stringify(line)).join('\n'));
    const { steps, evaluations } = await readRun(path);
    expect(evaluations).toEqual([]);
    expect(steps).toEqual([{ ...step(3), loss: null, lossScale: null }]);
    expect(readFileSync(await writeReport(path), 'utf8')).not.toContain('<script>alert');
  });

  it('stands beside that of another run', async () => {
    const runs = await Promise.all([folder(1), folder(2)].map(readRun));
    expect(differingSettings(runs)).toEqual(['run.seed']);
    const html = renderComparison(runs, await pageAssets());
    for (const { label } of runs) expect(html).toContain(label);
  });

  it('needs a run', async () => {
    await expect(readRun(tmpdir())).rejects.toThrow('no training run');
  });
});
