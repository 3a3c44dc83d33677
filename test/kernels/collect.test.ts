import { expect, it } from 'vitest';
import { collect } from '../../kernels/collect/index.ts';
import { collectReference } from '../../kernels/collect/reference.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

it('gathers single elements in order', async () => {
  const gpu = engine();
  const y = gpu.empty([3]);
  const scalars = [[3.5], [-1], [7]];
  const [s0, s1, s2] = scalars.map((scalar) => gpu.tensor(scalar));
  gpu.run('test', collect, { count: 3 }, { s0, s1, s2, y });
  expect(Array.from(await y.read())).toEqual(collectReference(scalars));
});

it('takes as many as a kernel can bind, one binding being the result', () => {
  const most = engine().profile.maxStorageBuffers - 1;
  expect(collect({ count: most }, engine().profile)[0].bindings).toHaveLength(most + 1);
  for (const count of [0, most + 1]) expect(() => collect({ count }, engine().profile)).toThrow(`1 to ${most} scalars`);
});
