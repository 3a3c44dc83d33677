import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const folder = new URL('../golden/', import.meta.url);

describe('golden files', () => {
  const found = readdirSync(folder)
    .filter((name) => /\.(safetensors|json)$/.test(name))
    .sort();
  const bytes = new Map(found.map((name) => [name, readFileSync(new URL(name, folder))]));

  it('are those of the checksum list, to the byte', () => {
    const list = readFileSync(new URL('SHA256SUMS', folder), 'utf8').trim().split('\n');
    const listed = Object.fromEntries(list.map((line) => line.split('  ').reverse() as [string, string]));
    const digests = [...bytes].map(([name, content]) => [name, createHash('sha256').update(content).digest('hex')]);
    expect(Object.fromEntries(digests)).toEqual(listed);
  });

  it('take at most 20 MB together', () => {
    const total = [...bytes.values()].reduce((sum, content) => sum + content.length, 0);
    expect(total).toBeGreaterThan(0);
    expect(total).toBeLessThanOrEqual(20e6);
  });
});
