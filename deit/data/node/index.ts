/** Data from files, with worker threads. Node only; the part for browsers too: ../index.ts. */
export * from './assets.ts';
export * from './cache.ts';
export * from './cifar-download.ts';
export * from './cifar-files.ts';
export * from './decode.ts';
export * from './division.ts';
export * from './file-dataset.ts';
export * from './file-names.ts';
export * from './folder.ts';
export * from './image-problems.ts';
export * from './image-source.ts';
export * from './image-workers.ts';
export * from './list-file.ts';
export * from './listing.ts';
export * from './loader.ts';
export * from './open.ts';
export * from './readable-classes.ts';
