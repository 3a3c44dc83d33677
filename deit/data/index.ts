/** Data and augmentation, the part that runs in browsers too. Files and worker threads: ./node/index.ts. */
export * from './affine.ts';
export * from './augment-ops.ts';
export * from './cifar.ts';
export * from './color-jitter.ts';
export * from './crop.ts';
export * from './dataset.ts';
export * from './image-bytes.ts';
export * from './load-times.ts';
export * from './mixing.ts';
export * from './pipeline.ts';
export * from './pixel-ops.ts';
export * from './rand-augment.ts';
export * from './random-erasing.ts';
export * from './resize.ts';
export * from './sampler.ts';
export * from './transforms.ts';
