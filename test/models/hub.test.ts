/** `hf:OWNER/NAME`, against a server on this machine that answers as the hub's documentation says. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { toFloat32 } from '../../engine/node.ts';
import { writeHuggingFaceFolder } from '../../deit/export/node/huggingface-folder.ts';
import { openCheckpoint } from '../../deit/train/node/checkpoint.ts';
import { useEngine } from '../support/engine.ts';
import { goldenModel, goldenModels, goldenSpec } from '../support/golden-models.ts';

const engine = useEngine();
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const golden = goldenModels.find(({ key }) => key === 'deit_distilled')!;

let folder = '';
let model = '';
let files = new Map<string, Buffer>();
/** What the server sends instead of a file's bytes. */
let sent = new Map<string, Buffer>();
let asked: string[] = [];
const sha = (algorithm: string, bytes: Buffer, before = ''): string =>
  createHash(algorithm).update(before).update(bytes).digest('hex');

/** Large files have a SHA-256, small ones the name that git gives their bytes; files are sent by another address. */
const server = createServer((request, response) => {
  const url = request.url!;
  asked.push(url);
  const file = decodeURIComponent(url.split('/').at(-1)!);
  if (url === '/api/models/me/small/revision/main?blobs=true') {
    const siblings = [...files].map(([rfilename, bytes]) => ({
      rfilename,
      size: bytes.length,
      blobId: sha('sha1', bytes, `blob ${bytes.length}\0`),
      ...(rfilename.endsWith('.safetensors') ? { lfs: { sha256: sha('sha256', bytes), size: bytes.length } } : {}),
    }));
    response.end(JSON.stringify({ id: 'me/small', sha: COMMIT, siblings, tags: [] }));
  } else if (url === `/me/small/resolve/${COMMIT}/${file}`) {
    response.writeHead(302, { location: `/store/${file}` }).end();
  } else if (url === `/store/${file}`) {
    response.end(sent.get(file) ?? files.get(file));
  } else {
    response.writeHead(401).end('{"error":"Invalid username or password."}');
  }
});

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deit-hub-'));
  model = join(folder, 'model');
  const card = {
    model: goldenSpec(golden),
    classes: Array.from({ length: golden.classes }, (_, i) => `class ${i}`),
    imageSize: golden.imageSize,
    cropPct: 0.9,
    interpolation: 'bicubic' as const,
    data: 'nothing',
  };
  await writeHuggingFaceFolder(model, goldenModel(engine(), golden), card, 'f32');
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

let cache = '';
beforeEach(() => {
  cache = mkdtempSync(join(folder, 'cache-'));
  vi.stubEnv('XDG_CACHE_HOME', cache);
  vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  vi.stubEnv('HF_HUB_OFFLINE', '');
  vi.stubEnv('HF_TOKEN', '');
  const names = ['config.json', 'preprocessor_config.json', 'model.safetensors'];
  files = new Map(names.map((name) => [name, readFileSync(join(model, name))]));
  files.set('README.md', Buffer.from('# a model'));
  sent = new Map();
  asked = [];
});
afterEach(() => vi.unstubAllEnvs());

const values = (tensors: Awaited<ReturnType<typeof openCheckpoint>>['tensors']) =>
  new Map([...tensors].map(([name, tensor]) => [name, [...toFloat32(tensor)]]));
const cached = (): string[] => readdirSync(join(cache, 'deit-webgpu/hub/me--small', COMMIT)).sort();

describe('hf:OWNER/NAME', () => {
  it('is the model of that folder, fetched once and then found in the cache, also without network', async () => {
    const local = await openCheckpoint(model);
    const first = await openCheckpoint('hf:me/small');
    expect(values(first.tensors)).toEqual(values(local.tensors));
    expect(first.card).toEqual(local.card);
    expect(first.note).toMatch(/^fetched .* MB: commit 0123456789ab of http/);
    expect(cached()).toEqual(['config.json', 'model.safetensors', 'preprocessor_config.json']);

    asked = [];
    expect((await openCheckpoint('hf:me/small')).note).toMatch(/^in the cache: /);
    expect(asked).toEqual(['/api/models/me/small/revision/main?blobs=true']);

    asked = [];
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(values((await openCheckpoint('hf:me/small')).tensors)).toEqual(values(local.tensors));
    expect(asked).toEqual([]);
    vi.stubEnv('HF_HUB_OFFLINE', '');
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
    const { note, path } = await openCheckpoint('hf:me/small');
    expect(note).toBe('the hub was not asked; fetched before: commit 0123456789ab');
    expect((await openCheckpoint(`hf:me/small@${COMMIT}`)).path).toBe(path);
  });

  it.each([
    ['one flipped bit of the weights', 'model.safetensors', (bytes: Buffer) => flip(bytes, bytes.length - 1)],
    ['one flipped bit of the settings', 'config.json', (bytes: Buffer) => flip(bytes, 3)],
    ['a file that is cut', 'model.safetensors', (bytes: Buffer) => bytes.subarray(0, 1000)],
    ['a file that goes on', 'model.safetensors', (bytes: Buffer) => Buffer.concat([bytes, bytes])],
  ])('keeps nothing of %s', async (_, name, change) => {
    sent.set(name, change(files.get(name)!));
    await expect(openCheckpoint('hf:me/small')).rejects.toMatchObject({ code: 'file-corrupt' });
    expect(cached()).not.toContain(name);
    expect(cached().filter((file) => file.endsWith('.tmp'))).toEqual([]);
    sent.clear();
    expect((await openCheckpoint('hf:me/small')).tensors.size).toBeGreaterThan(10);
  });

  it('says what to download where the hub cannot be reached', async () => {
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
    const offline = openCheckpoint('hf:me/small');
    await expect(offline).rejects.toMatchObject({ code: 'file-unreadable' });
    await expect(offline).rejects.toThrow(/me\/small\/tree\/main, download config.json, .* and model.safetensors/);
  });

  it.each([
    ['hf:me/missing', 'unknown-name', /HTTP status 401/],
    ['hf:small', 'unknown-name', /hf:OWNER\/NAME/],
    ['hf:../small', 'unknown-name', /hf:OWNER\/NAME/],
    ['hf:me/small@', 'unknown-name', /hf:OWNER\/NAME/],
  ])('%s is refused', async (name, code, message) => {
    const refused = openCheckpoint(name);
    await expect(refused).rejects.toMatchObject({ code });
    await expect(refused).rejects.toThrow(message);
  });

  it('a model without safetensors is refused before anything is fetched', async () => {
    files.set('pytorch_model.bin', files.get('model.safetensors')!);
    files.delete('model.safetensors');
    await expect(openCheckpoint('hf:me/small')).rejects.toThrow(/has no model.safetensors/);
    expect(asked).toHaveLength(1);
  });
});

function flip(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] ^= 1;
  return copy;
}
