/** What `deit serve` answers: /predict, /health and the page. Node only. */
import { availableParallelism } from 'node:os';
import { getConnInfo } from '@hono/node-server/conninfo';
import { Hono } from 'hono';
import type { MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { secureHeaders } from 'hono/secure-headers';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { Engine } from '../../engine/index.ts';
import { ImageBytes } from '../data/image-bytes.ts';
import { ImageWorkers } from '../data/node/image-workers.ts';
import type { Answer, ImageModel } from '../image-model.ts';
import { Batcher, Busy } from './batcher.ts';
import { Refusal, notAllowed, ofImage, refuseTheRest, refused } from './refusal.ts';
import { serveSite } from './site.ts';
import type { Site } from './site.ts';
import { uploadsOf } from './uploads.ts';
import type { Upload } from './uploads.ts';

export interface PredictionLimits {
  /** Bytes of a request's body. */
  readonly bytes: number;
  /** Requests a minute from one address; 0: any number. */
  readonly rate: number;
  /** Images that pass through the model at a time. */
  readonly batch: number;
  /** What a batch that is not full waits for more, in milliseconds. */
  readonly waitMs: number;
  /** Images that may wait; bodies of so many times `bytes` may be under way. */
  readonly waiting: number;
  readonly bodies: number;
  /** Threads that decode images; 0: the one that answers. */
  readonly threads: number;
}

export const usualLimits: PredictionLimits = {
  bytes: 20e6,
  rate: 300,
  batch: 16,
  waitMs: 5,
  waiting: 256,
  bodies: 16,
  threads: Math.max(1, Math.min(4, availableParallelism() - 1)),
};

/** What is needed of a model. */
export type ServedModel = Pick<ImageModel<unknown>, 'engine' | 'model' | 'name' | 'pipeline' | 'classifyPlanes'>;

/** What `/predict` answers. */
export interface Predictions {
  readonly predictions: readonly { readonly file: string; readonly answers: readonly Answer[] }[];
}

export interface PredictionApp {
  readonly app: Hono;
  /** Ends the threads that decode. */
  close(): Promise<void>;
}

/** The application for a model. `onFailure` hears of errors that are no request's fault; `isFatal` says that nothing works any more. */
export function predictionApp(
  model: ServedModel,
  options: { limits: PredictionLimits; site: Site; onFailure: (error: unknown, isFatal: boolean) => void },
): PredictionApp {
  const { limits, site, onFailure } = options;
  const workers = new ImageWorkers(limits.threads);
  const decoder = decoderFor(model, workers);
  const batcher = new Batcher<Prepared, Answer[]>({
    run: (batch) => classifyAll(model, batch),
    size: limits.batch,
    waitMs: limits.waitMs,
    room: limits.waiting,
  });
  const about = { model: model.name, classes: model.model.classes, imageSize: model.pipeline.imageSize };
  const app = new Hono();
  app.use(secureHeaders({ strictTransportSecurity: false }));
  app.get('/health', async (context) => {
    const isLost = (await model.engine.deviceLoss()) !== null;
    const { batches, items } = batcher.done;
    const load = { waiting: batcher.length, batches, images: items };
    const facts = { status: isLost ? 'failed' : 'ok', ...about, adapter: model.engine.adapter.name, ...load };
    return context.json(facts, isLost ? 503 : 200);
  });
  const limited = bodyLimit({ maxSize: limits.bytes, onError: () => tooLarge(limits.bytes) });
  app.post('/predict', rateLimit(limits.rate), memoryLimit(limits), limited, async (context) => {
    const top = topOf(context.req.query('top'), about.classes);
    const uploads = await uploadsOf(context.req.raw);
    if (batcher.length + uploads.length > limits.waiting) throw new Busy();
    const prepared = await Promise.all(uploads.map(decoder));
    const answers = await batcher.submit(prepared, context.req.raw.signal);
    return context.json({
      predictions: uploads.map((upload, i) => ({ file: upload.name, answers: answers[i].slice(0, top) })),
    } satisfies Predictions);
  });
  app.get('/site.json', (context) => context.json({ server: about }));
  for (const [path, methods] of [
    ['/predict', 'POST'],
    ['/health', 'GET, HEAD'],
    ['/site.json', 'GET, HEAD'],
  ]) {
    app.all(path, (context) => refused(context, notAllowed(methods)));
  }
  serveSite(app, site);
  refuseTheRest(app);
  answerErrors(app, model.engine, onFailure);
  return { app, close: () => workers.close() };
}

interface Prepared {
  readonly name: string;
  /** [3, size, size], normalised. */
  readonly planes: Float32Array;
}

/** Decodes and prepares an image in a thread: the server goes on answering meanwhile. */
function decoderFor({ pipeline }: ServedModel, workers: ImageWorkers): (upload: Upload) => Promise<Prepared> {
  const constant = { seed: 0, epoch: 0, pipeline, root: undefined, cache: undefined };
  return async ({ name, bytes }) => {
    const result = await workers.run({ ...constant, samples: [{ index: 0, copy: 0, bytes, name }] });
    const [failure] = result.failures;
    if (failure) throw ofImage(failure.error.code, failure.error.message);
    const image = new ImageBytes(1, pipeline.imageSize, 0, pipeline.normalization);
    image.take(result, 0, 0, 1);
    return { name, planes: image.normalized() };
  };
}

function classifyAll(model: ServedModel, batch: readonly Prepared[]): Promise<Answer[][]> {
  const size = batch[0].planes.length;
  const planes = new Float32Array(batch.length * size);
  batch.forEach((image, i) => planes.set(image.planes, i * size));
  return model.classifyPlanes(planes, { top: model.model.classes, nameOf: (row) => batch[row].name });
}

function topOf(text: string | undefined, classes: number): number {
  if (text === undefined) return 5;
  if (/^[1-9]\d{0,5}$/.test(text)) return Math.min(classes, Number(text));
  throw new Refusal(400, `top is ${text}. Expected: a whole number of at least 1.`);
}

function tooLarge(bytes: number): never {
  throw new Refusal(413, `The body has more than ${bytes} bytes.`);
}

/** So many requests a minute from an address. */
function rateLimit(rate: number): MiddlewareHandler {
  if (rate === 0) return (_context, next) => next();
  const limiter = new RateLimiterMemory({ points: rate, duration: 60 });
  return async (context, next) => {
    try {
      await limiter.consume(getConnInfo(context).remote.address ?? 'unknown');
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      const seconds = Math.ceil(refused.msBeforeNext / 1000);
      throw new Refusal(429, `More than ${rate} requests a minute.`, { 'retry-after': String(seconds) });
    }
    await next();
  };
}

/** Keeps the bodies that are under way within memory: a request is counted by the size that it announces, or else the largest one. */
function memoryLimit({ bytes, bodies }: PredictionLimits): MiddlewareHandler {
  let free = bytes * bodies;
  return async (context, next) => {
    const announced = Number(context.req.header('content-length') ?? bytes);
    if (announced > bytes) tooLarge(bytes);
    if (announced > free) throw new Busy();
    free -= announced;
    try {
      await next();
    } finally {
      free += announced;
    }
  };
}

/** What becomes of errors. */
function answerErrors(app: Hono, engine: Engine, onFailure: (error: unknown, isFatal: boolean) => void): void {
  app.onError(async (error, context) => {
    if (error instanceof Refusal) return refused(context, error);
    if (error instanceof Busy) return refused(context, new Refusal(503, 'There is more to do than can wait; try again soon.', { 'retry-after': '1' })); // prettier-ignore
    // Nobody is there any more to read an answer.
    if (context.req.raw.signal.aborted) return context.body(null, 400);
    onFailure(error, (await engine.deviceLoss()) !== null);
    return context.json({ error: { code: 'failed', message: 'The server failed; its log says why.' } }, 500);
  });
}
