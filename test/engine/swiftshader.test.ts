/** The software adapter that the package brings, unpacked as `tar` unpacks it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { expect, it, vi } from 'vitest';
import { embeddedSwiftShader } from '../../engine/node/swiftshader.ts';

const hasPackage = process.platform === 'linux' && process.arch === 'x64' && embeddedSwiftShader() !== null;

it.skipIf(!hasPackage)('has the files that Vulkan needs, whole and no others, and is unpacked once', () => {
  const cache = mkdtempSync(join(tmpdir(), 'deit-cache-'));
  try {
    vi.stubEnv('XDG_CACHE_HOME', cache);
    const { icd } = embeddedSwiftShader()!;
    expect(icd.startsWith(cache)).toBe(true);
    const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium');
    const [root] = entry.split(`${join('@sparticuz', 'chromium')}`);
    const archive = join(root, '@sparticuz/chromium/bin/swiftshader.tar.br');
    const tar = brotliDecompressSync(readFileSync(archive));
    const extract = (name: string): Buffer =>
      execFileSync('tar', ['--extract', '--to-stdout', '--wildcards', `*${name}`], { input: tar, maxBuffer: 2 ** 28 });
    const names = ['libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'];
    expect(readdirSync(dirname(icd)).sort()).toEqual(names);
    for (const name of names) {
      const found = readFileSync(join(dirname(icd), name));
      expect(found.length).toBeGreaterThan(0);
      expect(found.equals(extract(name)), name).toBe(true);
    }
    expect(embeddedSwiftShader()!.icd).toBe(icd);
    expect(readdirSync(dirname(dirname(icd)))).toHaveLength(1);
  } finally {
    rmSync(cache, { recursive: true });
  }
});
