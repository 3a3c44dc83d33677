/** A program of its own, so that its memory is the loader's: `memory-run FOLDER THREADS AHEAD`. Prints MB after each of five epochs. */
import { DataLoader } from '../../deit/data/node/loader.ts';
import { openPart } from '../../deit/data/node/open.ts';
import { trainingPipeline } from '../../deit/data/pipeline.ts';

const [folder, workers, prefetch] = process.argv.slice(2);
const { dataset } = await openPart(folder, undefined);
const loader = new DataLoader({
  dataset,
  pipeline: trainingPipeline({ imageSize: 224 }),
  batchSize: 16,
  workers: Number(workers),
  prefetch: Number(prefetch),
  seed: 0,
  shuffle: true,
  dropLast: true,
});
const resident: number[] = [];
for (let epoch = 0; epoch < 5; epoch++) {
  for await (const batch of loader.epoch(epoch)) batch.release();
  resident.push(Math.round(process.memoryUsage.rss() / 1e6));
}
process.stdout.write(`${resident.join(', ')}\n`);
await loader.close();
