import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { BrowserContext } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { summarizeModel } from '../../deit/models/registry.ts';
import { renderComparison } from '../../deit/report/compare.ts';
import { pageAssets, readRun, writeReport } from '../../deit/report/node/run-files.ts';
import { toPng } from '../../deit/report/node/pictures.ts';
import { DeitError, numel, serializeSafetensors, storeFloats } from '../../engine/node.ts';
import { findChromium, launchChromium } from '../support/chromium.ts';
import { ran } from '../support/command.ts';

const chromium = findChromium();
const title = chromium ? 'pages made from files of strangers, in Chromium' : 'PAGES ARE NOT TESTED: no Chromium here';
if (!chromium) it.runIf(process.env.CI === 'true')(title, () => expect(chromium).not.toBeNull());

/** Each way out of the place that a text stands in: of text, attributes, elements of raw text, comments, JSON, JavaScript, CSS. */
const PAYLOADS = [
  '"><img src=x onerror="pwned=1"><script>pwned=1</script>',
  `'><svg onload='pwned=1'><a href='javascript:pwned=1' autofocus onfocus='pwned=1'>`,
  '" autofocus tabindex="0" onfocus="pwned=1" onload="pwned=1" x="',
  '</script><script>pwned=1</script><!--<script>',
  '</title></style></pre></textarea><style>@import "http://127.0.0.1:9/"; *{background:url(http://127.0.0.1:9/)}</style>',
  '<base href="http://127.0.0.1:9/"><meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/"><iframe srcdoc="<script>parent.pwned=1</script>"></iframe>',
  'javascript:pwned=1//\u2028pwned=1\u2029${pwned=1}`;pwned=1;`\\u003cscript>pwned=1\\u003c/script>',
  'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" onload="parent.pwned=1"/>',
  ']]>--><![CDATA[<script>pwned=1</script>\0\u202e\ufeff',
];
/** What a folder and a file can be called. */
const NAME = `<img src=x onerror="pwned=1">'\`<script>pwned=1`;

const picture = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=='; // prettier-ignore
const accuracy = { class: 0.5, distillation: 0.5, average: 0.5, top5: 1, loss: 1, images: 2 };
const adapter = { name: 'a', vendor: 'b', architecture: 'c', description: 'd', software: true, choice: 'e', advice: 'f', features: ['g'] }; // prettier-ignore
const step = (number: number) => ({ role: 'student', step: number, steps: 2, epoch: 0, lr: 0.1, loss: 1, lossLabel: 1, lossDistillation: 1, accuracy: 0.5, accuracyDistillation: 0.5, gradNorm: 1, nonFinite: 0, imagesPerSecond: 9, secondsLeft: 0 }); // prettier-ignore

/** The files of a finished run, with every section that a report has. */
const FILES: Readonly<Record<string, unknown>> = {
  'config.json': {
    version: '1',
    versions: { node: '20' },
    command: ['train', '--data', 'photos'],
    name: 'recipe',
    recipe: { model: { name: 'deit' }, data: { path: 'photos' }, teacher: { model: 'regnety' }, run: { seed: 'x' } },
  },
  'adapter.json': [
    { role: 'teacher', step: 0, versions: { node: '20' }, adapter },
    { role: 'student', step: 1, versions: { node: '22' }, adapter },
  ],
  'result.json': {
    accuracy: { teacher: 0.5, class: 0.5, distillation: 0.5, average: 0.5 },
    ema: accuracy,
    best: null,
    steps: 2,
    seconds: 3,
    imagesPerSecond: 1,
    dataWait: 0,
    adapter: 'a',
  },
  'analysis.json': {
    data: { name: 'photos', training: 8, heldOut: 2 },
    model: {
      classes: ['cat', 'dog'],
      images: 2,
      names: ['truth', 'class'],
      accuracy: [1, 0.5],
      disagreement: [
        [0, 0.5],
        [0.5, 0],
      ],
      confusion: [
        [1, 0],
        [1, 0],
      ],
      topConfusions: [{ truth: 1, answer: 0, images: 1 }],
      tokenCosine: [0.1, 0.9],
      samples: [{ truth: 1, picture, predictions: [{ predictor: 'class', answer: 0, probability: 1 }], mistake: true }],
      attention: [{ truth: 0, picture, tokens: [{ token: 'class', rollout: picture, layers: picture, depth: 1, heads: 1 }] }], // prettier-ignore
    },
    training: {
      profile: { families: [{ family: 'matmul', dispatches: 1, ms: 1, flops: 1, bytes: 1 }], images: 2 },
      memory: { kept: { weights: 1 }, keptBytes: 1, pooledBytes: 1, totalBytes: 2, peakBytes: 2, buffers: 1 },
    },
    peak: { flops: 1, bytes: 1 },
  },
  'metrics.jsonl': [step(1), step(2), { role: 'student', step: 2, accuracy, ema: accuracy }],
};

const write = (folder: string, name: string, content: unknown): void =>
  writeFileSync(
    join(folder, name),
    name.endsWith('l')
      ? (content as unknown[]).map((line) => `${JSON.stringify(line)}\n`).join('')
      : JSON.stringify(content),
  );

function runFolder(root: string, name: string): string {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  for (const [file, content] of Object.entries(FILES)) write(folder, file, content);
  return folder;
}

type Json = Record<string, unknown>;

/** Every version of `json` with one string, or one key, replaced; with the place of it. */
function* replacements(json: unknown, text: string, where = ''): Generator<{ place: string; changed: unknown }> {
  if (typeof json === 'string') yield { place: where, changed: text };
  if (typeof json !== 'object' || json === null) return;
  const copy = (key: string, own: unknown, name = key): unknown =>
    Array.isArray(json)
      ? json.with(Number(key), own)
      : Object.fromEntries(Object.entries(json).map(([k, v]) => (k === key ? [name, own] : [k, v])));
  for (const [key, value] of Object.entries(json as Json)) {
    for (const { place, changed } of replacements(value, text, `${where}/${key}`)) {
      yield { place, changed: copy(key, changed) };
    }
    if (!Array.isArray(json)) yield { place: `${where}/${key} (key)`, changed: copy(key, value, text + key) };
  }
}

/** Stands for a hostile text while it is found out where such can stand. */
const MARK = '<PLANTED>';

/** The files of a run with `MARK` in every place in which the reader accepts it, and those places. */
async function plant(folder: string): Promise<{ files: Readonly<Record<string, unknown>>; places: string[] }> {
  const places: string[] = [];
  const { 'metrics.jsonl': metrics, ...rest } = FILES;
  const strange = {
    ...step(2),
    loss: MARK,
    lr: MARK,
    gradNorm: { [MARK]: MARK },
    lossScale: { next: MARK },
    [MARK]: 1,
  };
  const lines = [...(metrics as Json[]), strange, { ...strange, role: MARK, accuracy: MARK }];
  const files: Record<string, unknown> = { 'metrics.jsonl': lines };
  for (const [file, content] of Object.entries(rest)) {
    files[file] = content;
    for (const { place } of replacements(content, MARK)) {
      // Where a key was replaced already, what was below it is passed over.
      const next = [...replacements(files[file], MARK)].find((one) => one.place === place);
      if (!next) continue;
      write(folder, file, next.changed);
      try {
        await readRun(folder);
        files[file] = next.changed;
        places.push(file + place);
      } catch (error) {
        expect(error).toBeInstanceOf(DeitError);
      }
    }
    write(folder, file, files[file]);
  }
  return { files, places };
}

describe.runIf(chromium !== null)(title, () => {
  let context: BrowserContext;
  let root: string;
  let plain: Seen;
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'deit-hostile-report-'));
    context = await launchChromium(chromium!);
    plain = await open(await writeReport(runFolder(root, 'plain')));
  });
  afterAll(async () => {
    await context?.close();
    rmSync(root, { recursive: true, force: true });
  });

  interface Seen {
    /** What a script of a stranger would have done. */
    readonly harm: readonly string[];
    /** Elements, each with the names of its attributes. */
    readonly structure: readonly string[];
    readonly text: string;
    readonly charts: number;
  }

  const shows = ({ text }: Seen, part: string): boolean => text.includes(part);

  async function open(path: string): Promise<Seen> {
    const page = await context.newPage();
    const harm: string[] = [];
    page.on('dialog', (dialog) => harm.push(`dialog ${dialog.message()}`));
    page.on('console', (message) => harm.push(`console: ${message.text()}`));
    page.on('pageerror', (error) => harm.push(`error: ${String(error)}`));
    const left = (url: string, how: string): void => {
      if (!/^(file|data):/.test(url)) harm.push(`request: ${url} ${how}`);
    };
    page.on('requestfinished', (request) => left(request.url(), 'finished'));
    page.on('requestfailed', (request) => {
      const how = request.failure()!.errorText;
      // What the policy stopped never left the browser; nothing listens where the payloads point.
      if (how !== 'csp') left(request.url(), how);
    });
    await page.goto(pathToFileURL(path).href);
    for (const details of await page.locator('details').all())
      await details.evaluate((d) => d.setAttribute('open', ''));
    const seen = await page.evaluate(() => ({
      pwned: 'pwned' in window,
      structure: [...document.querySelectorAll('*')].map(
        (e) => `${e.tagName} ${e.getAttributeNames().sort().join(' ')}`,
      ),
      text: [...document.querySelectorAll('main :not(script)')]
        .flatMap((e) => [...e.childNodes])
        .filter((node) => node.nodeType === Node.TEXT_NODE)
        .map((node) => node.nodeValue)
        .join('\n'),
      charts: document.querySelectorAll('.uplot canvas').length,
      broken: [...document.images].filter((image) => image.complete && image.naturalWidth === 0).length,
    }));
    if (seen.pwned) harm.push('a script ran');
    if (seen.broken > 0) harm.push(`${seen.broken} pictures are broken`);
    await page.close();
    return { harm, ...seen };
  }

  it('a sound report draws its curves under its own policy', () => {
    expect(plain.harm).toEqual([]);
    expect(plain.charts).toBe(7);
  });

  it('a report shows hostile texts from every field of every file as texts', async () => {
    const folder = runFolder(root, NAME);
    const { files, places } = await plant(folder);
    expect(places).toEqual(
      expect.arrayContaining([
        'config.json/version',
        'config.json/versions/node (key)',
        'config.json/command/2',
        'config.json/name',
        'config.json/recipe/model/name',
        'config.json/recipe/run/seed (key)',
        'adapter.json/0/adapter/name',
        'adapter.json/1/adapter/features/0',
        'result.json/adapter',
        'analysis.json/data/name',
        'analysis.json/model/classes/1',
        'analysis.json/model/names/1',
        'analysis.json/model/samples/0/predictions/0/predictor',
        'analysis.json/training/profile/families/0/family',
        'analysis.json/training/memory/kept/weights (key)',
      ]),
    );
    expect(places.filter((place) => /picture|rollout|layers|token$/.test(place))).toEqual([]);
    for (const payload of PAYLOADS) {
      for (const [file, content] of Object.entries(files)) {
        const text = JSON.stringify(content).replaceAll(MARK, () => JSON.stringify(payload).slice(1, -1));
        write(folder, file, JSON.parse(text));
      }
      const seen = await open(await writeReport(folder));
      expect(seen.harm).toEqual([]);
      expect(seen.structure).toEqual(plain.structure);
      expect(shows(seen, payload.replace(/[\0\u202e]/g, '\ufffd'))).toBe(true);
    }
  });

  it('a comparison shows hostile names of runs, settings and adapters as texts', async () => {
    const compare = async (folders: readonly string[]): Promise<Seen> => {
      const path = join(root, 'compare.html');
      writeFileSync(path, renderComparison(await Promise.all(folders.map(readRun)), await pageAssets()));
      return open(path);
    };
    /** Two runs of which one has other data. */
    const pair = (names: readonly string[], path: string): string[] => {
      const folders = names.map((name) => runFolder(root, name));
      const changed = [...replacements(FILES['config.json'], path)].filter(
        ({ place }) => place === '/recipe/data/path',
      );
      write(folders[0], 'config.json', changed[0].changed);
      return folders;
    };
    const sound = await compare(pair(['one', 'two'], 'elsewhere'));
    expect(sound.charts).toBe(6);
    const hostile = await compare(pair([NAME, `${NAME}2`], PAYLOADS[0]));
    expect(hostile.harm).toEqual([]);
    expect(hostile.structure).toEqual(sound.structure);
    expect(shows(hostile, JSON.stringify(PAYLOADS[0]))).toBe(true);
    expect(shows(hostile, NAME)).toBe(true);
  });

  it('a page of attention shows hostile names of photo and classes as texts', async () => {
    const { spec, tensors } = summarizeModel(
      'deit_tiny_patch16_224 img_size=32 patch_size=16 embed_dim=32 depth=1 num_heads=1 num_classes=2',
    );
    const zeros = tensors.map(({ name, shape }) => [name, storeFloats(new Float32Array(numel(shape)), shape)] as const);
    const card = { model: spec, classes: [PAYLOADS[0], PAYLOADS[3]], imageSize: 32, cropPct: 0.875, interpolation: 'bicubic', data: '' }; // prettier-ignore
    const weights = join(root, 'w.safetensors');
    writeFileSync(weights, serializeSafetensors(new Map(zeros), new Map([['deit-webgpu', JSON.stringify(card)]])));
    const photo = join(root, `${NAME}.png`);
    writeFileSync(photo, await toPng({ width: 32, height: 32, data: new Uint8Array(32 * 32 * 3) }));
    const output = join(root, 'looks');
    expect(await ran('attention', photo, '--weights', weights, '--output', output)).toMatchObject({ code: 0 });
    const seen = await open(join(output, 'attention.html'));
    expect(seen.harm).toEqual([]);
    expect(shows(seen, NAME)).toBe(true);
    expect(shows(seen, PAYLOADS[0])).toBe(true);
  });

  it('the policy stops what would come through unescaped', async () => {
    // It has no say over where a page may be refreshed to: that is left to the escaping.
    const raw = `<script>pwned=1</script><img src=x onerror="pwned=1"><svg onload="pwned=1"></svg>
      <iframe srcdoc="<script>parent.pwned=1</script>"></iframe><img src="http://127.0.0.1:9/"><script src="http://127.0.0.1:9/"></script>
      <style>@import "http://127.0.0.1:9/";</style><base href="http://127.0.0.1:9/"><object data="http://127.0.0.1:9/"></object>`;
    const report = readFileSync(await writeReport(runFolder(root, 'open')), 'utf8');
    const path = join(root, 'open', 'broken.html');
    writeFileSync(
      path,
      report.replace('<main>', () => `<main>${raw}`),
    );
    const { harm, charts } = await open(path);
    expect(harm).not.toContain('a script ran');
    expect(harm.filter((one) => one.startsWith('request'))).toEqual([]);
    for (const directive of ['script-src', 'style-src', 'img-src', 'base-uri', 'default-src']) {
      expect(harm.some((one) => one.includes('Content Security Policy') && one.includes(directive))).toBe(true);
    }
    expect(charts).toBe(7);
  });
});
