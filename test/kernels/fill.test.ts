import { expect, it } from 'vitest';
import { fill } from '../../kernels/fill/index.ts';
import { fillReference } from '../../kernels/fill/reference.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

it.each(fill.variants)('every element has the value, the special ones too, variant %s', async (variant) => {
  for (const value of [0.1, -0, NaN, -Infinity, 1e-45]) {
    for (const n of [1, 6, 4099]) {
      const y = engine().empty([n]);
      const [bits] = new Uint32Array(Float32Array.of(value).buffer);
      engine().run('test', fill, { n, value, bits, variant }, { y });
      expect(Array.from(await y.read())).toEqual(fillReference(n, value));
    }
  }
});
