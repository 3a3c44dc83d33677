/** The stand-ins for photos that test/golden/shipped.py draws: coloured squares and a quarter of noise. */
import { imagenetNormalization, normalizationTables, writeChw } from '../../deit/data/transforms.ts';
import { integers } from './generator.ts';
import { goldenJson, goldenTensors } from './golden.ts';

const SIZE = 224;

const { crops, drift, embeddingDrift } = goldenJson<{ crops: string[]; drift: number; embeddingDrift: number }>(
  'shipped.json',
);

function crop(name: string): Uint8Array {
  const coarse = integers(`${name}.coarse`, 14 * 14 * 3, 256);
  const fine = integers(`${name}.fine`, SIZE * SIZE * 3, 256);
  return Uint8Array.from(fine, (noise, i) => {
    const [channel, pixel] = [i % 3, Math.floor(i / 3)];
    const [y, x] = [Math.floor(pixel / SIZE), pixel % SIZE];
    return Math.floor((3 * coarse[((y >> 4) * 14 + (x >> 4)) * 3 + channel] + noise) / 4);
  });
}

/** Normalised images, the shipped model's logits and embeddings of them by timm in float64, and the errors of PyTorch's own float32. */
export function shippedCrops() {
  const shape = [crops.length, 3, SIZE, SIZE];
  const images = new Float32Array(crops.length * 3 * SIZE * SIZE);
  const tables = normalizationTables(imagenetNormalization);
  crops.forEach((name, i) => {
    writeChw({ width: SIZE, height: SIZE, data: crop(name) }, tables, images, i * 3 * SIZE * SIZE);
  });
  const golden = goldenTensors('shipped.safetensors');
  const [logits, embeddings] = [golden('logits').values, golden('embeddings').values];
  return { images, shape, logits, drift, embeddings, embeddingDrift };
}
