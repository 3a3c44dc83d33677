import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';

/** Everything but files and processes runs in a browser: each entry point bundles without a single Node module. */
describe('browser bundle', () => {
  it.each(['engine/index.ts', 'nn/index.ts', 'deit/index.ts'])('%s needs nothing of Node', async (entry) => {
    const result = await build({
      entryPoints: [entry],
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      logLevel: 'silent',
      metafile: true,
    });
    const inputs = Object.keys(result.metafile.inputs);
    expect(inputs.filter((path) => /(^|\/)node\/|node\.ts$/.test(path) && !path.startsWith('node_modules/'))).toEqual(
      [],
    );
    expect(result.outputFiles[0].text).not.toMatch(/\bprocess\.|require\("node:/);
  });
});
