/** What transformers' image processors do where their file does not say. */
import { expect, it } from 'vitest';
import { preparationOfProcessor } from '../../deit/weights/huggingface-preprocessing.ts';

// From transformers 4: `resample` of DeiTImageProcessor(), ViTImageProcessor() and ConvNextImageProcessor(), and their means.
it.each([
  ['DeiTImageProcessor', 'bicubic', 0.485],
  ['DeiTFeatureExtractor', 'bicubic', 0.485],
  ['ViTImageProcessor', 'bilinear', 0.5],
  ['ViTImageProcessorFast', 'bilinear', 0.5],
  ['ConvNextImageProcessor', 'bicubic', 0.485],
])('%s: %s', (type, interpolation, mean) => {
  const found = preparationOfProcessor({ image_processor_type: type, size: { height: 224, width: 224 } }, 'a file');
  expect(found.interpolation).toBe(interpolation);
  expect(found.normalization.mean[0]).toBe(mean);
});
