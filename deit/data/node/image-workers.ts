/** A few worker threads that decode and transform images. Node only. */
import type { Worker } from 'node:worker_threads';
import { DeitError } from '../../../engine/index.ts';
import { startThread } from '../../thread.ts';
import type { ImageJob, ImageJobResult } from './image-jobs.ts';
import { runImageJob } from './image-jobs.ts';

/** What a worker sends back for a job. */
export type WorkerReply = { id: number; result: ImageJobResult } | { id: number; error: string };

interface Pending {
  job: ImageJob;
  resolve(result: ImageJobResult): void;
  reject(error: unknown): void;
}

interface Thread {
  worker: Worker;
  /** Jobs sent and not yet answered, by id. */
  running: Map<number, Pending>;
}

/** Jobs that a thread holds at a time: one in work and one at hand, so that it need not wait for the main thread. */
const jobsPerThread = 2;

/**
 * Runs image jobs on `count` threads (0: in the main thread), started with the first job. Idle threads do not keep Node
 * alive; `close` ends them.
 */
export class ImageWorkers {
  private readonly threads: Thread[] = [];
  private readonly waiting: Pending[] = [];
  private nextId = 0;
  private isClosed = false;

  constructor(readonly count: number) {
    if (Number.isInteger(count) && count >= 0 && count <= 64) return;
    throw new DeitError('bad-config', 'The number of data threads is out of range.', {
      where: 'workers',
      expected: 'an integer from 0 to 64',
      found: String(count),
    });
  }

  run(job: ImageJob): Promise<ImageJobResult> {
    if (this.isClosed) {
      return Promise.reject(new DeitError('bad-argument', 'The data threads were used after they were closed.'));
    }
    if (this.count === 0) return runImageJob(job);
    while (this.threads.length < this.count) this.threads.push(this.start());
    return new Promise((resolve, reject) => {
      this.waiting.push({ job, resolve, reject });
      this.dispatch();
    });
  }

  /** Ends the threads. Jobs that were not answered are rejected. */
  async close(): Promise<void> {
    this.isClosed = true;
    const threads = this.threads.splice(0);
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
    const closed = new DeitError('bad-argument', 'The data threads were closed while they had work.');
    for (const pending of [...threads.flatMap(({ running }) => [...running.values()]), ...this.waiting.splice(0)]) {
      pending.reject(closed);
    }
  }

  private start(): Thread {
    const thread: Thread = { worker: startThread(import.meta.url, 'worker'), running: new Map() };
    thread.worker.unref();
    thread.worker.on('message', (reply: WorkerReply) => {
      const pending = thread.running.get(reply.id);
      thread.running.delete(reply.id);
      if (thread.running.size === 0) thread.worker.unref();
      if ('result' in reply) pending?.resolve(reply.result);
      else pending?.reject(threadFailure(reply.error));
      this.dispatch();
    });
    thread.worker.on('error', (error) => this.bury(thread, error));
    thread.worker.on('exit', (code) => this.bury(thread, new Error(`the thread ended with code ${code}`)));
    return thread;
  }

  /** A dead thread fails its jobs; the next job starts another in its place. */
  private bury(thread: Thread, error: unknown): void {
    const at = this.threads.indexOf(thread);
    if (at < 0) return;
    this.threads.splice(at, 1);
    const failure = threadFailure(error instanceof Error ? error.message : String(error));
    for (const pending of thread.running.values()) pending.reject(failure);
    for (const pending of this.threads.length === 0 ? this.waiting.splice(0) : []) pending.reject(failure);
  }

  private dispatch(): void {
    for (;;) {
      const free = this.threads
        .filter(({ running }) => running.size < jobsPerThread)
        .sort((a, b) => a.running.size - b.running.size)[0];
      const pending = free && this.waiting.shift();
      if (!pending) return;
      const id = this.nextId++;
      free.running.set(id, pending);
      free.worker.ref();
      free.worker.postMessage({ id, job: pending.job }, pending.job.room ? [pending.job.room] : []);
    }
  }
}

const threadFailure = (found: string): DeitError =>
  new DeitError('bad-data', 'A data thread failed.', {
    found,
    fix: 'Run without data threads (workers 0) to see the failure where it happens.',
  });
