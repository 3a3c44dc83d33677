import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundled } from '../../bench/bundled.ts';
import { createModel, openModel, saveModel } from '../../deit/package-node.ts';
import type { Answer, ImageInput, ImageModel } from '../../deit/package-node.ts';
import { predictionApp, usualLimits } from '../../deit/serve/app.ts';
import type { PredictionApp, PredictionLimits, Predictions } from '../../deit/serve/app.ts';
import { listen } from '../../deit/serve/listen.ts';
import type { Listening } from '../../deit/serve/listen.ts';
import { useEngine } from '../support/engine.ts';
import { uniform } from '../support/close.ts';

const engine = useEngine({ seed: 3 });
const folder = mkdtempSync(join(tmpdir(), 'deit-serve-'));
const weights = join(folder, 'small.safetensors');
const SPEC = 'deit_tiny_patch16_224 img_size=32 patch_size=16 depth=1 num_classes=4';
const classes = ['ant', 'bee', 'cat', 'dog'];

let model: ImageModel<ImageInput>;
let photos: Buffer[];
const failures: unknown[] = [];
const closings: (() => Promise<void>)[] = [];

/** A server of its own, with limits of its own. */
async function start(limits: Partial<PredictionLimits> = {}): Promise<Listening> {
  const application: PredictionApp = predictionApp(model, {
    limits: { ...usualLimits, rate: 0, threads: 0, ...limits },
    site: new Map(),
    onFailure: (error) => failures.push(error),
  });
  const server = await listen(application.app);
  closings.push(() => server.close().then(() => application.close()));
  return server;
}

const form = (files: readonly (readonly [string, Uint8Array])[]): FormData => {
  const body = new FormData();
  for (const [name, bytes] of files) body.append('image', new Blob([new Uint8Array(bytes)]), name);
  return body;
};
const post = (server: Listening, body: BodyInit, headers: Record<string, string> = {}, query = ''): Promise<Response> =>
  fetch(`${server.url}predict${query}`, { method: 'POST', body, headers });
const sent = (server: Listening, ...images: Uint8Array[]): Promise<Response> =>
  post(server, form(images.map((bytes, i) => [`${i}.png`, bytes])));

/** Status and code of a refusal. */
async function refusal(response: Response): Promise<[number, string]> {
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  expect(error.message.length).toBeGreaterThan(10);
  return [response.status, error.code];
}

let server: Listening;
beforeAll(async () => {
  const made = createModel(engine(), SPEC);
  // A new head is all zeros, and would give every image the same answer.
  for (const parameter of made.parameters())
    parameter.write(uniform(parameter.size, parameter.size).map((x) => 0.3 * x));
  const card = { model: SPEC, classes, imageSize: 32, cropPct: 1, interpolation: 'bicubic', data: 'none' } as const;
  await saveModel(weights, made, card);
  model = await openModel(weights, { engine: engine() });
  photos = await Promise.all(
    Array.from({ length: 24 }, (_, i) => {
      const noise = uniform(3 * 40 * 40, i).map((x) => 127 * (x + 1));
      return sharp(Uint8Array.from(noise), { raw: { width: 40, height: 40, channels: 3 } })
        .png()
        .toBuffer();
    }),
  );
  server = await start({ threads: 1 });
});
afterAll(async () => {
  for (const close of closings) await close();
  expect(failures).toEqual([]);
  rmSync(folder, { recursive: true, force: true });
});

/** That the server gives what the model gives: the sums of a batch of another size may differ in the last bits. */
function expectAnswers(found: readonly Answer[], expected: readonly Answer[]): void {
  expect(found.map(({ name }) => name)).toEqual(expected.map(({ name }) => name));
  found.forEach(({ probability }, i) => expect(Math.abs(probability - expected[i].probability)).toBeLessThan(1e-5));
}

describe('POST /predict', () => {
  it('names the images of a form, in their order, as the model does', async () => {
    const expected = await model.classify(photos.slice(0, 3), { top: 4 });
    const { predictions } = (await (await sent(server, ...photos.slice(0, 3))).json()) as Predictions;
    expect(predictions.map(({ file }) => file)).toEqual(['0.png', '1.png', '2.png']);
    predictions.forEach(({ answers }, i) => expectAnswers(answers, expected[i]));
    const sum = predictions[0].answers.reduce((total, { probability }) => total + probability, 0);
    expect(sum).toBeCloseTo(1, 6);
    // Three images give three answers.
    expect(new Set(predictions.map(({ answers }) => answers[0].probability)).size).toBe(3);
  });

  it('takes an image alone, and as many names as are asked for', async () => {
    const response = await post(server, new Uint8Array(photos[5]), { 'content-type': 'image/png' }, '?top=2');
    const { predictions } = (await response.json()) as Predictions;
    expect(predictions).toHaveLength(1);
    expectAnswers(predictions[0].answers, (await model.classify([photos[5]], { top: 2 }))[0]);
  });

  it('answers many at a time, each with its own, in batches', async () => {
    const expected = await model.classify(photos, { top: 4 });
    const before = await health(server);
    const responses = await Promise.all(photos.map((photo) => sent(server, photo)));
    for (const [i, response] of responses.entries()) {
      expect(response.status).toBe(200);
      expectAnswers(((await response.json()) as Predictions).predictions[0].answers, expected[i]);
    }
    const after = await health(server);
    expect(after.images - before.images).toBe(24);
    expect(after.batches - before.batches).toBeLessThan(12);
  });

  it.each([
    [415, 'unsupported-type', 'text', () => ['just words', { 'content-type': 'text/plain' }]],
    [415, 'unsupported-type', 'no image', () => [form([['a.png', Buffer.from('just words, no picture at all')]]), {}]],
    [
      415,
      'unsupported-type',
      'SVG',
      () => [form([['a.png', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')]]), {}],
    ],
    [
      415,
      'unsupported-type',
      'a compressed body',
      () => ['x', { 'content-type': 'image/png', 'content-encoding': 'gzip' }],
    ],
    [
      400,
      'bad-request',
      'a form without files',
      () => [new URLSearchParams({}), { 'content-type': 'multipart/form-data; boundary=x' }],
    ],
    [
      400,
      'bad-request',
      'a broken form',
      () => ['--x\r\nnothing', { 'content-type': 'multipart/form-data; boundary=x' }],
    ],
    [400, 'bad-request', 'a form without a boundary', () => ['x', { 'content-type': 'multipart/form-data' }]],
    [400, 'bad-request', 'a field that is no file', () => [fieldOnly(), {}]],
    [400, 'bad-request', 'an empty image', () => [form([['a.png', Buffer.alloc(0)]]), {}]],
    [400, 'bad-request', 'no body', () => ['', { 'content-type': 'image/png' }]],
    [
      400,
      'file-corrupt',
      'half an image',
      () => [
        form([
          ['good.png', photos[0]],
          ['half.png', photos[0].subarray(0, 900)],
        ]),
        {},
      ],
    ],
    [400, 'file-corrupt', 'an image of absurd size', () => [form([['big.png', absurd()]]), {}]],
    [
      413,
      'too-large',
      'too many images',
      () => [form(Array.from({ length: 65 }, (_, i) => [`${i}`, photos[0]] as const)), {}],
    ],
    [413, 'too-large', 'a large body', () => [form([['a.png', Buffer.alloc(21e6)]]), {}]],
  ] as const)('answers %s %s to %s', async (status, code, _, request) => {
    const [body, headers] = request() as [BodyInit, Record<string, string>];
    expect(await refusal(await post(server, body, headers))).toEqual([status, code]);
    expect(await refusal(await post(server, new Uint8Array(photos[0]), { 'content-type': 'image/png' }, '?top=all'))).toEqual([400, 'bad-request']); // prettier-ignore
    expect((await sent(server, photos[1])).status).toBe(200);
  });

  it('measures a body that does not announce its size', async () => {
    const small = await start({ bytes: 5000 });
    let sentBytes = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sentBytes += 65_536;
        if (sentBytes > 2 ** 28) controller.close();
        else controller.enqueue(new Uint8Array(65_536));
      },
    });
    const request = { method: 'POST', body, headers: { 'content-type': 'image/png' }, duplex: 'half' } as RequestInit;
    const response = await fetch(`${small.url}predict`, request);
    expect(await refusal(response)).toEqual([413, 'too-large']);
    expect(sentBytes).toBeLessThan(2 ** 27);
  });

  it('lets an address ask so often a minute, and says when it may again', async () => {
    const slow = await start({ rate: 3 });
    const responses = [];
    for (let i = 0; i < 4; i++) responses.push(await sent(slow, photos[i]));
    expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
    expect(Number(responses[3].headers.get('retry-after'))).toBeGreaterThan(0);
    expect(Number(responses[3].headers.get('retry-after'))).toBeLessThanOrEqual(60);
    expect(await refusal(responses[3])).toEqual([429, 'too-many-requests']);
    // Whoever watches the server is not counted.
    expect((await health(slow)).status).toBe('ok');
  });

  it('refuses more than can wait, and what memory has no room for', async () => {
    const full = await start({ waiting: 2, waitMs: 200 });
    expect(await refusal(await sent(full, ...photos.slice(0, 3)))).toEqual([503, 'busy']);
    expect((await sent(full, ...photos.slice(0, 2))).status).toBe(200);
    const narrow = await start({ bytes: 20_000, bodies: 1, waitMs: 200 });
    const responses = await Promise.all(photos.slice(0, 4).map((photo) => sent(narrow, photo, photo)));
    expect(responses.map(({ status }) => status).sort()).toEqual([200, 503, 503, 503]);
    expect(responses.find(({ status }) => status === 503)!.headers.get('retry-after')).toBe('1');
    expect((await sent(narrow, photos[0], photos[0])).status).toBe(200);
  });

  it('goes on after clients that leave in the middle, or talk nonsense', async () => {
    const port = Number(new URL(server.url).port);
    const head = 'POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 100000\r\n\r\n';
    for (const text of [
      head,
      `${head}\x89PNG\r\n\x1a\n`,
      'nonsense\r\n\r\n',
      'GET / HTTP/9.9\r\n\r\n',
      '\0'.repeat(500),
    ]) {
      const socket = connect(port, '127.0.0.1');
      await new Promise<void>((resolve) => socket.write(text, () => resolve()));
      await new Promise((resolve) => setTimeout(resolve, 20));
      socket.on('error', () => undefined);
      socket.destroy();
    }
    const gone = new AbortController();
    const asked = fetch(`${server.url}predict`, {
      method: 'POST',
      body: form([['a', photos[0]]]),
      signal: gone.signal,
    });
    setTimeout(() => gone.abort(), 3);
    await asked.catch(() => undefined);
    expect((await sent(server, photos[0])).status).toBe(200);
  });
});

describe('other addresses', () => {
  it('tell about the model, and refuse what they are not for', async () => {
    expect(await health(server)).toMatchObject({ status: 'ok', model: SPEC, classes: 4, imageSize: 32 });
    const get = await fetch(`${server.url}predict`);
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST']);
    const remove = await fetch(`${server.url}health`, { method: 'DELETE' });
    expect([remove.status, remove.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    expect(await refusal(await fetch(`${server.url}secrets`))).toEqual([404, 'not-found']);
  });
});

describe('deit serve', () => {
  it('answers what is under way when it is asked to stop, and ends with 0', async () => {
    const args = ['serve', '--json', '--port', '0', '--max-wait', '1500', '--weights', weights];
    const child = spawn(process.execPath, [await bundled('deit/cli/main.ts'), ...args]);
    let told = '';
    child.stderr.on('data', (chunk: Buffer) => (told += chunk.toString()));
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    const line = await Promise.race([
      new Promise<string>((resolve) => child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString()))),
      ended.then((code) => Promise.reject(new Error(`ended with ${code}: ${told}`))),
    ]);
    const { url } = JSON.parse(line) as { url: string };
    // Waits for more images for a second and a half, in which the signal comes.
    const asked = sent({ url, close: () => Promise.resolve() }, photos[0]);
    await new Promise((resolve) => setTimeout(resolve, 700));
    child.kill('SIGTERM');
    const response = await asked;
    expect(response.status).toBe(200);
    const [expected] = await model.classify([photos[0]]);
    expectAnswers(((await response.json()) as Predictions).predictions[0].answers, expected);
    expect(await ended).toBe(0);
    expect(told).toContain('stopping');
    await expect(fetch(url)).rejects.toThrow();
  });
});

async function health({ url }: Listening): Promise<{ status: string; batches: number; images: number }> {
  return (await (await fetch(`${url}health`)).json()) as { status: string; batches: number; images: number };
}

function fieldOnly(): FormData {
  const body = new FormData();
  body.append('image', 'photo.png');
  return body;
}

/** A PNG whose header announces 60,000 x 60,000 pixels. */
function absurd(): Buffer {
  const bytes = Buffer.from(photos[0]);
  bytes.writeUInt32BE(60_000, 16);
  bytes.writeUInt32BE(60_000, 20);
  return bytes;
}
