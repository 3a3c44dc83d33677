import { expect, it } from 'vitest';
import { cifar10SampleFolder, openCifar } from '../../deit/data/node/cifar-files.ts';
import { deitErasing, trainingPipeline } from '../../deit/data/index.ts';
import { ImageInput } from '../../deit/image-input.ts';
import { expectClose } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { collectBatches, loaderOptions } from '../support/loader-batches.ts';

const engine = useEngine();

it('a batch of bytes on the GPU is the batch of floats, to the bit where nothing is erased', async () => {
  const { val } = await openCifar(cifar10SampleFolder());
  for (const probability of [0, 1]) {
    const pipeline = trainingPipeline({ imageSize: 32, erasing: { ...deitErasing, probability, count: 2 } });
    const [batch, next] = await collectBatches(loaderOptions(val, { pipeline, batchSize: 6, workers: 0 }));
    const input = new ImageInput(engine(), 8, 32);
    input.write(next.bytes!);
    input.write(batch.bytes!);
    const found = (await input.images.read()) as Float32Array;
    const expected = batch.images;
    const own = found.subarray(0, expected.length);
    if (probability === 0)
      expect(Buffer.compare(Buffer.from(own.slice().buffer), Buffer.from(expected.buffer))).toBe(0);
    // Noise up to about 5, by f32's logarithm and cosine there and f64's here.
    else expectClose(own, expected, 2e-6);
    // Whoever asked for floats may have changed them: from then on they are what counts.
    expect(batch.bytes).toBeNull();
    input.write(expected.fill(3));
    expect([...(await input.images.read())].slice(0, 3)).toEqual([3, 3, 3]);
    input.release();
  }
});
