/** Run by loader.test.ts: shows an epoch of the images in a folder on two threads, which it does not close. */
import { DataLoader } from '../../deit/data/node/loader.ts';
import { openData } from '../../deit/data/node/open.ts';
import { trainingPipeline } from '../../deit/data/pipeline.ts';

const { train: dataset } = await openData(process.argv[2]);
const pipeline = trainingPipeline({ imageSize: 24 });
const loader = new DataLoader({ dataset, pipeline, batchSize: 4, seed: 1, shuffle: true, dropLast: true, workers: 2 });
let count = 0;
for await (const batch of loader.epoch(0)) count += batch.size;
console.log(count);
