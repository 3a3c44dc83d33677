import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { summarizeModel } from '../../deit/models/registry.ts';
import { latestCheckpoint } from '../../deit/train/node/run-state.ts';
import { numel, serializeSafetensors, storeFloats } from '../../engine/node.ts';
import { ran } from '../support/command.ts';

const MODEL = 'deit_tiny_patch16_224 img_size=32 patch_size=16 embed_dim=48 depth=1 num_heads=3 num_classes=2';
const GIB = 2 ** 30;

let folder: string;
const at = (name: string): string => join(folder, name);

/** A file that is right in itself: a header, and as many bytes as it tells of, which take no room on the disk. */
function sparse(name: string, tensors: Readonly<Record<string, readonly number[]>>, metadata = {}): string {
  const path = at(name);
  mkdirSync(dirname(path), { recursive: true });
  let end = 0;
  const entries = Object.entries(tensors).map(([tensor, shape]) => {
    const begin = end;
    end += 4 * shape.reduce((a, b) => a * b, 1);
    return [tensor, { dtype: 'F32', shape, data_offsets: [begin, end] }];
  });
  const header = Buffer.from(JSON.stringify({ __metadata__: metadata, ...(Object.fromEntries(entries) as object) }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = openSync(path, 'w');
  writeSync(file, length);
  writeSync(file, header);
  closeSync(file);
  truncateSync(path, 8 + header.length + end);
  return path;
}

let weights: string;
let nameless: string;
let photo: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deit-oversized-'));
  const how = { imageSize: 32, cropPct: 0.875, interpolation: 'bicubic', data: '' };
  const card = JSON.stringify({ model: MODEL, classes: ['a', 'b'], ...how });
  weights = sparse('weights.safetensors', { 'head.weight': [2 ** 20, 2 ** 11] }, { 'deit-webgpu': card });
  nameless = sparse('nameless.safetensors', { 'head.weight': [2 ** 20, 2 ** 11] });
  for (const part of ['train/a', 'train/b', 'val/a', 'val/b']) {
    mkdirSync(at(`photos/${part}`), { recursive: true });
    const pixels = sharp({ create: { width: 32, height: 32, channels: 3, background: 'red' } });
    await pixels.png().toFile(at(`photos/${part}/0.png`));
  }
  photo = at('photos/val/a/0.png');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a command that must be refused before it has taken memory for the file. */
async function refused(args: readonly string[], reason: RegExp): Promise<void> {
  const before = process.resourceUsage().maxRSS;
  const { code, err } = await ran(...args);
  expect(code).toBe(1);
  expect(err).toMatch(reason);
  // Kilobytes; the file has 8 GiB.
  expect(process.resourceUsage().maxRSS - before).toBeLessThan(GIB / 1024);
}

describe('weights of 8 GiB for a model of a few thousand numbers', () => {
  it.each([
    ['predict', () => [photo]],
    ['evaluate', () => ['--data', at('photos')]],
    ['attention', () => [photo, '--output', at('looks')]],
    ['export', () => ['--output', at('out.safetensors')]],
    ['logits', () => ['--model', MODEL, '--input', at('none'), '--output', at('out')]],
    ['gradients', () => ['--model', MODEL, '--input', at('none'), '--output', at('out')]],
    ['finetune', () => ['--data', at('photos'), '--output', at('run')]],
    ['finetune', () => ['--data', at('photos'), '--model', MODEL, '--output', at('run2')]],
  ])('are not read by %s', async (command, args) => {
    await refused(
      [command, '--weights', weights, ...args()],
      /holds far more than its model[^]*"head.weight" \[1048576, 2048\]/,
    );
  });

  it.each(['model.weights', 'teacher.weights'])('are not read as %s of a training', async (setting) => {
    const small = [
      `model.name=${MODEL.replace('tiny', 'tiny_distilled')}`,
      'data.batchSize=2',
      'data.accumulate=1',
      'augment.policy=null',
    ];
    const set = [...small, `${setting}=${weights}`].flatMap((one) => ['--set', one]);
    const args = ['train', '--data', at('photos'), ...set, '--steps', '1', '--output', at(setting)];
    await refused(args, /holds far more than its model/);
  });

  it('are not read where nothing says of which model they are', async () => {
    await refused(['predict', '--weights', nameless, photo], /holds far more[^]*any model here/);
  });

  it('are not read as a checkpoint', async () => {
    const run = at('old-run');
    sparse('old-run/checkpoints/student-00000001.safetensors', { 'model/x': [2 ** 31] }, { 'deit-webgpu-run': '{}' });
    const told: string[] = [];
    await expect(latestCheckpoint(run, (path, error) => told.push(`${path} ${String(error)}`))).rejects.toMatchObject({
      code: 'file-corrupt',
    });
    expect(told.join()).toContain('holds far more');
  });

  it('are not read as images', async () => {
    const input = sparse('input.safetensors', { images: [2 ** 19, 3, 32, 32] });
    const zeros = summarizeModel(MODEL).tensors.map(
      ({ name, shape }) => [name, storeFloats(new Float32Array(numel(shape)), shape)] as const,
    );
    writeFileSync(at('zeros.safetensors'), serializeSafetensors(new Map(zeros)));
    const args = ['--model', MODEL, '--weights', at('zeros.safetensors'), '--input', input, '--output', at('out')];
    for (const command of ['logits', 'gradients'])
      await refused([command, ...args], /do not fit[^]*up to 4096[^]*524288/);
  });
});
