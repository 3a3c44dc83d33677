import { expect, it } from 'vitest';
import { LEFT_OUT, f16Copy } from '../../kernels/f16-copy/index.ts';
import { f16CopyReference } from '../../kernels/f16-copy/reference.ts';
import { uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { useEngineAs } from '../support/device-profiles.ts';
import { f16Tests, numbers } from '../support/f16.ts';

const engine = useEngine();
const withF16 = f16Tests(engine);

for (const variant of f16Copy.variants) {
  withF16(`blocks go where they are wanted, rounded to f16, variant ${variant}`, async () => {
    const gpu = engine();
    const x = uniform(4 * 64, 1, 100);
    // 1e6 is beyond f16.
    x[0] = 1e6;
    const where = Uint32Array.of(2, LEFT_OUT, 0, 1);
    const places = gpu.tensor(where, [4], 'u32');
    const y = gpu.tensor(new Uint16Array(4 * 64), [4 * 64], 'f16');
    gpu.run('test', f16Copy, { n: x.length, variant }, { x: gpu.tensor(x), places, y });
    expect(Array.from(await numbers(y))).toEqual(f16CopyReference(x, where, new Float32Array(4 * 64)));
    expect((await numbers(y))[128]).toBe(Infinity);
  });
}

const small = useEngineAs({ maxBindingSize: 65536 });
f16Tests(small)('blocks go where they are wanted, of more elements than one binding holds', async () => {
  const gpu = small();
  const blocks = 2 * 256;
  const x = uniform(64 * blocks, 2);
  const where = Uint32Array.from({ length: blocks }, (_, i) => blocks - 1 - i);
  const y = gpu.tensor(new Uint16Array(x.length), [x.length], 'f16');
  gpu.run('test', f16Copy, { n: x.length }, { x: gpu.tensor(x), places: gpu.tensor(where, [blocks], 'u32'), y });
  expect(Array.from(await numbers(y))).toEqual(f16CopyReference(x, where, new Float32Array(x.length)));
});

it('takes whole blocks, on a device with f16', () => {
  const device = { ...engine().profile, f16: true };
  expect(() => f16Copy({ n: 65 }, device)).toThrow(/positive multiple of 64/);
  expect(() => f16Copy({ n: 64 }, { ...device, f16: false })).toThrow(/a device with f16/);
});
