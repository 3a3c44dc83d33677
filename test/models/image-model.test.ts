/** @module-tag slow */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createEngine, openModel, registerModel, createModel, modelNames } from '../../deit/package-node.ts';
import type { Engine } from '../../deit/package-node.ts';
import { chooseAdapter } from '../../engine/node/adapter.ts';
import { RegNetY } from '../../deit/models/regnety.ts';
import { toPng } from '../../deit/report/node/pictures.ts';
import { useEngine } from '../support/engine.ts';
import { goldenTensors } from '../support/golden.ts';
import { goldenModel, goldenModels } from '../support/golden-models.ts';
import { deit, lastJson } from '../support/command.ts';
import { uniform } from '../support/generator.ts';

const engine = useEngine();
const folder = mkdtempSync(join(tmpdir(), 'deit-photos-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('embed', () => {
  // The class head is linear: applied to the vectors, in float64, it has to give the logits that PyTorch gave.
  it.each(['deit_plain', 'deit_distilled', 'regnety'])('%s: what the head classifies', async (key) => {
    const golden = goldenModels.find((one) => one.key === key)!;
    const model = goldenModel(engine(), golden).eval();
    const { batch, imageSize: side, classes } = golden;
    const images = engine().tensor(uniform(golden.images, batch * 3 * side * side, 0, 2), [batch, 3, side, side]);
    const state = model.stateDict();
    const head = key === 'regnety' ? 'head.fc' : 'head';
    // With a distillation token the vector is the mean of both tokens: with equal heads, what the mean of the logits is of.
    for (const kind of ['weight', 'bias'])
      state.get(`head_dist.${kind}`)?.write(await state.get(`head.${kind}`)!.read());
    const [vectors, weight, bias, { cls, dist }] = [
      await model.embed!(images).array<number[][]>(),
      await state.get(`${head}.weight`)!.array<number[][]>(),
      await state.get(`${head}.bias`)!.array<number[]>(),
      model.heads(images),
    ];
    const [one, other] = [await cls.read(), await (dist ?? cls).read()];
    const expected = dist
      ? one.map((value, i) => (value + other[i]) / 2)
      : goldenTensors(golden.file)('eval.logits').values;
    vectors.forEach((vector, row) =>
      weight.forEach((line, c) => {
        const logit = line.reduce((sum, w, i) => sum + w * vector[i], bias[c]);
        // Logits of size 1 to 3 in f32, whose head sums at most 100 products.
        expect(Math.abs(logit - expected[row * classes + c])).toBeLessThan(2e-5);
      }),
    );
  });
});

describe('openModel', () => {
  it('names and vectors of photos: those of `deit predict`, whatever form the photo has and however many there are', async () => {
    const data = Uint8Array.from({ length: 3 * 300 * 240 }, (_, i) => (i * i) % 251);
    const picture = { width: 300, height: 240, data };
    const bytes = await toPng(picture);
    const path = join(folder, 'photo.png');
    writeFileSync(path, bytes);
    const { top5 } = lastJson<{ top5: { name: string; probability: number }[] }>(
      (await deit('predict', '--json', path)).out,
    );
    const model = await openModel('shipped', { engine: engine() });
    const answers = await model.classify([path, bytes, picture]);
    for (const one of answers) {
      expect(one.map(({ name }) => name)).toEqual(top5.map(({ name }) => name));
      // The same sums, but in a batch of another size: other kernels.
      one.forEach(({ probability }, i) => expect(Math.abs(probability - top5[i].probability)).toBeLessThan(1e-5));
    }
    const [vector, again] = await model.embed([path, picture]);
    expect(vector).toHaveLength(192);
    expect(again).toEqual(vector);
    await expect(model.classify('photo.png' as never)).rejects.toThrow('in a list');
    await expect(model.classify([join(folder, 'none.png')])).rejects.toThrow('none.png');
    model.close();
    // The engine was given, and is still open.
    expect(await engine().tensor([1]).item()).toBe(1);
  });
});

describe('createEngine', () => {
  it("works on an adapter or a device of one's own, and leaves the device open", async () => {
    const { adapter } = await chooseAdapter();
    const device = await adapter.requestDevice();
    const own = await createEngine({ adapter: device });
    expect(await own.tensor([2, 3]).mul(2).array()).toEqual([4, 6]);
    expect(own.adapter.choice).toBe('given');
    own.close();
    const buffer = device.createBuffer({ size: 16, usage: 8 });
    device.queue.writeBuffer(buffer, 0, new Uint8Array(16));
    await device.queue.onSubmittedWorkDone();
    expect(await Promise.race([device.lost, Promise.resolve('alive')])).toBe('alive');
    device.destroy();
    const second = await createEngine({ adapter: (await chooseAdapter()).adapter });
    expect(await second.tensor([5]).item()).toBe(5);
    second.close();
    await expect(createEngine({ adapter: {} as GPUDevice })).rejects.toThrow('GPUAdapter or a GPUDevice');
  });
});

describe('registerModel', () => {
  it("a model of one's own has a name, options and the classes of the data", () => {
    const create = (gpu: Engine, { classes, imageSize }: { classes: number; imageSize: number }) =>
      new RegNetY(gpu, { w0: 8, wa: 8, wm: 2, depth: 2, groupWidth: 8, classes, imageSize });
    registerModel('test_own_net', { imageSize: 64, create });
    expect(modelNames()).toContain('test_own_net');
    expect(createModel(engine(), 'test_own_net num_classes=7').classes).toBe(7);
    expect(() => registerModel('test_own_net', { imageSize: 64, create })).toThrow('a name of its own');
    expect(() => registerModel('with space', { imageSize: 64, create })).toThrow('a name of its own');
    expect(() => createModel(engine(), 'test_own_nets')).toThrow('did you mean test_own_net?');
  });
});
