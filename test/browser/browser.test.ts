import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Hono } from 'hono';
import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildSite } from '../../deit/browser/build.ts';
import { listen } from '../../deit/serve/listen.ts';
import { serveSite, siteOf } from '../../deit/serve/site.ts';
import { buildModel, openModel } from '../../deit/train/node/open-model.ts';
import { assetPath } from '../../deit/data/node/assets.ts';
import { PhiloxStream, Purpose, serializeSafetensors, storeFloats } from '../../engine/index.ts';
import { evaluationPipeline, makeTransform } from '../../deit/data/index.ts';
import type { RgbImage } from '../../deit/data/index.ts';
import { toPng } from '../../deit/report/node/pictures.ts';
import { findChromium, launchChromium } from '../support/chromium.ts';
import { uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

declare global {
  interface Window {
    /** Calls of the browser's decoder. */
    decoded?: number;
  }
}

const chromium = findChromium();
const title = chromium ? 'the page in Chromium' : 'THE PAGE IS NOT TESTED: no Chromium here (apt-get install chromium)';

// Where a browser is promised (CI), its absence is a failure and not a silent gap.
if (!chromium) it.runIf(process.env.CI === 'true')(title, () => expect(chromium).not.toBeNull());

/** A picture without structure, at the size to which evaluation resizes, so that only decoding comes before the crop. */
function testPhoto(): RgbImage {
  const noise = uniform(64 * 64 * 3, 7);
  const data = new Uint8Array(256 * 256 * 3);
  for (let i = 0; i < 256 * 256; i++) {
    const cell = 3 * ((Math.floor(i / 256) >> 2) * 64 + ((i % 256) >> 2));
    for (let c = 0; c < 3; c++) data[3 * i + c] = Math.round(127.5 * (noise[cell + c] + 1));
  }
  return { width: 256, height: 256, data };
}

describe.runIf(chromium !== null)(title, () => {
  const engine = useEngine();
  const problems: string[] = [];
  let context: BrowserContext;
  let page: Page;
  let close: () => Promise<void>;

  beforeAll(async () => {
    const app = new Hono();
    serveSite(app, await siteOf(await buildSite(mkdtempSync(join(tmpdir(), 'deit-site-')))));
    const site = await listen(app);
    close = () => site.close();
    context = await launchChromium(chromium!, [
      '--enable-unsafe-webgpu',
      '--use-webgpu-adapter=swiftshader',
      '--enable-features=Vulkan',
    ]);
    page = await context.newPage();
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) problems.push(`${message.type()}: ${message.text()}`);
    });
    page.on('pageerror', (error) => problems.push(String(error)));
    await page.goto(site.url);
    await page.waitForSelector('#file:enabled', { timeout: 60_000 });
  });
  afterAll(async () => {
    await context?.close();
    await close?.();
  });

  it('classifies a photo with the logits that Node computes', async () => {
    const photo = testPhoto();
    const file = join(mkdtempSync(join(tmpdir(), 'deit-photo-')), 'photo.png');
    writeFileSync(file, await toPng(photo));
    await page.setInputFiles('#file', file);
    await page.waitForFunction(() => window.deit.logits !== undefined && window.deit.idle, null, { timeout: 60_000 });
    const found = await page.evaluate(() => window.deit.logits!);

    const { model } = await buildModel(engine(), { weights: 'shipped' }, () => undefined);
    model.eval();
    const pixels = new Float32Array(3 * 224 * 224);
    makeTransform(evaluationPipeline({ imageSize: 224 }))(photo, new PhiloxStream(0, Purpose.augment), pixels, 0);
    const expected = await engine().scope(() =>
      engine().noGrad(() => model.heads(engine().tensor(pixels, [1, 3, 224, 224])).cls.read()),
    );
    expect(found).toHaveLength(1000);
    const error = Math.max(...found.map((value, i) => Math.abs(value - expected[i])));
    // Two adapters sum 12 blocks in f32 in different orders: a few 1e-5 on logits of up to about 10.
    expect(error).toBeLessThan(1e-4);
    expect(await page.locator('#result canvas').count()).toBe(3);
  });

  it('refuses what is no photo before a decoder sees it', async () => {
    await page.evaluate(() => {
      const decode = window.createImageBitmap.bind(window) as (...args: unknown[]) => Promise<ImageBitmap>;
      window.decoded = 0;
      window.createImageBitmap = (...args: unknown[]) => {
        window.decoded!++;
        return decode(...args);
      };
    });
    const png = await toPng({ width: 8, height: 8, data: new Uint8Array(192) });
    const large = Buffer.from(png);
    large.writeUInt32BE(60_000, 16);
    large.writeUInt32BE(60_000, 20);
    const svg = Buffer.from(
      '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>',
    );
    const told: string[] = [];
    for (const buffer of [svg, large, png.subarray(0, 60)]) {
      await page.setInputFiles('#file', { name: 'photo.png', mimeType: 'image/png', buffer });
      await page.waitForFunction(() => window.deit.idle && document.querySelector('#status')!.textContent.includes('photo.png')); // prettier-ignore
      told.push((await page.textContent('#status'))!);
      await page.evaluate(() => void (document.querySelector('#status')!.textContent = ''));
    }
    expect(told[0]).toContain('SVG');
    expect(told[1]).toContain('60000 x 60000');
    expect(told[2]).toContain('cannot be decoded');
    // The last alone: a header is sound, and what follows is cut short.
    expect(await page.evaluate(() => window.decoded)).toBe(1);
    // The page shows the errors on its console, for whoever looks there.
    problems.splice(0, 3);
  });

  it('trains: the loss falls', async () => {
    await page.fill('#teacher-steps', '2');
    await page.fill('#student-steps', '10');
    await page.fill('#batch-size', '16');
    await page.click('#train');
    await page.waitForFunction(() => window.deit.losses.length === 10 && window.deit.idle, null, { timeout: 100_000 });
    const losses = await page.evaluate(() => window.deit.losses);
    const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
    expect(mean(losses.slice(-3))).toBeLessThan(mean(losses.slice(0, 3)));
    expect(await page.locator('#curves .uplot').count()).toBe(2);
    // Both tokens of a distilled model are watched.
    expect(await page.locator('#watched figcaption').allTextContents()).toContain('rollout of the distillation token');
  });

  it('saves what it has trained, and loads it again, as Node does', async () => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
    const path = join(mkdtempSync(join(tmpdir(), 'deit-saved-')), download.suggestedFilename());
    await download.saveAs(path);
    await page.setInputFiles('#file', path);
    await page.waitForFunction(
      () => window.deit.idle && document.querySelector('#status')!.textContent.includes('loaded'),
    );
    expect(await page.inputValue('#model')).toBe('own');
    await page.click('#sample');
    await page.waitForFunction(() => window.deit.idle && document.querySelector('#status')!.textContent.includes('classified')); // prettier-ignore
    const found = await page.evaluate(() => window.deit.logits!);
    expect(found).toHaveLength(10);

    const model = await openModel(path, { engine: engine() });
    const photo = assetPath('photo', 'chelsea.jpg');
    const [answers] = await model.classify([photo], { top: 10 });
    const shown = await page
      .locator('#result .answers:has(caption:text-is("average of both")) tr td:first-child')
      .allTextContents();
    expect(shown).toEqual(answers.slice(0, 5).map(({ name }) => name));
    const best = await page
      .locator('#result .answers:has(caption:text-is("average of both")) td.n')
      .first()
      .textContent();
    // The page shows a tenth of a percent; photos are decoded by two JPEG decoders, which differ by a level or two.
    expect(Math.abs(parseFloat(best!) - 100 * answers[0].probability)).toBeLessThan(0.5);
    await page.selectOption('#model', 'shipped');
    await page.waitForFunction(() => window.deit.idle && window.deit.logits!.length === 1000);
    // A tabby, by what ImageNet calls it.
    expect(await page.locator('#result .answers td').first().textContent()).toMatch(/Egyptian Mau|tabby cat|tiger cat/);
  });

  it('says what is wrong with weights that it cannot load', async () => {
    const nameless = serializeSafetensors(new Map([['x', storeFloats(new Float32Array(2), [2])]]));
    for (const [buffer, expected] of [
      [Buffer.from(nameless), 'do not say which model'],
      [Buffer.from('nonsense'), 'nonsense.safetensors'],
    ] as const) {
      await page.setInputFiles('#file', { name: 'nonsense.safetensors', mimeType: 'application/octet-stream', buffer });
      await page.waitForFunction((text) => window.deit.idle && document.querySelector('#status')!.textContent.includes(text), expected); // prettier-ignore
    }
    problems.splice(0, 2);
  });

  it('keeps its status in view on a phone, and fits its width', async () => {
    const { width, height } = page.viewportSize()!;
    await page.setViewportSize({ width: 390, height: 844 });
    await page.fill('#teacher-steps', '0');
    await page.fill('#student-steps', '4');
    await page.click('#train');
    await page.waitForFunction(() => document.querySelector('#status')!.textContent.includes('step 2 of 4'));
    await page.locator('#curves').scrollIntoViewIfNeeded();
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    const box = (await page.locator('#status').boundingBox())!;
    expect(box.y).toBeGreaterThanOrEqual(0);
    expect(box.y + box.height).toBeLessThan(844);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    if (process.env.PAGE_PICTURE) await page.screenshot({ path: process.env.PAGE_PICTURE });
    await page.waitForFunction(() => window.deit.idle, null, { timeout: 60_000 });
    await page.setViewportSize({ width, height });
  });

  it('says what to do where there is no WebGPU', async () => {
    const other = await context.newPage();
    await other.addInitScript(() => Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined }));
    await other.goto(page.url());
    await other.waitForSelector('#without-webgpu:visible');
    expect(await other.textContent('#status')).toContain('navigator.gpu');
    await other.close();
  });

  it('leaves nothing on the console', () => {
    expect(problems).toEqual([]);
  });
});
