import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fuzzArguments } from '../../bench/drills/argument-lists.ts';
import { ran } from '../support/command.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deit-arguments-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('changed argument lists end well or with a message', async () => {
  // The drill `arguments` has 2,000; these are other ones of the same kinds.
  const { lists, refused, commands } = await fuzzArguments(folder, 80, 77);
  expect(lists).toBe(80);
  expect(refused).toBeGreaterThan(40);
  expect(commands.size).toBeGreaterThan(10);
});

it.each([
  ['evaluate', '--batch-size=0'],
  ['evaluate', '--batch-size=-1'],
  ['evaluate', '--batch-size=1e9'],
  ['profile', 'deit_tiny_patch16_224', '--batch-size=1.5'],
  ['profile', 'deit_tiny_patch16_224', '--batch-size=NaN'],
  ['summary', 'deit_tiny_patch16_224', 'depth=1e9'],
  ['summary', 'regnety_002', 'depth=1e9'],
  ['plan', '--set', 'data.batchSize=1e9'],
])('sizes beyond any use are refused at once: %s %s %s', async (...args) => {
  const { code, err } = await ran(...args.filter((arg) => arg !== undefined));
  expect(code).toBe(1);
  expect(err).toMatch(/\[bad-config\][\s\S]*(whole number|more than)/);
});
