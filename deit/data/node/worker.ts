/** Body of a worker thread: image jobs in, pixels out. Started by image-workers.ts; Node only. */
import { parentPort } from 'node:worker_threads';
import { runImageJob } from './image-jobs.ts';
import type { ImageJob } from './image-jobs.ts';
import type { WorkerReply } from './image-workers.ts';

parentPort?.on('message', ({ id, job }: { id: number; job: ImageJob }) => {
  const reply = (message: WorkerReply, transfer: ArrayBuffer[] = []): void =>
    parentPort?.postMessage(message, transfer);
  runImageJob(job).then(
    (result) => reply({ id, result }, [result.pixels.buffer]),
    (error: unknown) => reply({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});
