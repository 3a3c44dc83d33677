/** `deit serve`: a model behind HTTP. */
import { openModel } from '../train/node/open-model.ts';
import { predictionApp, usualLimits } from '../serve/app.ts';
import type { PredictionLimits, ServedModel } from '../serve/app.ts';
import { listen } from '../serve/listen.ts';
import type { Listening } from '../serve/listen.ts';
import { pageSite } from '../serve/page.ts';
import { DeitError } from '../../engine/index.ts';
import { describeError } from './errors.ts';
import type { ModelOptions } from './model-files.ts';
import { tell } from './progress.ts';
import { parseBatchSize, parseBytes, parseNumber, withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface ServeOptions extends GlobalOptions, ModelOptions {
  host: string;
  port: string;
  maxSize: string;
  rate: string;
  batchSize: string;
  maxWait: string;
}

/** What requests that are under way get to end, in milliseconds. */
const GRACE_MS = 10_000;

/** Serves until Ctrl-C or SIGTERM; then what is under way is answered. */
export async function serve(options: ServeOptions): Promise<void> {
  const limits = limitsOf(options);
  const port = parseNumber(options.port, '--port', { least: 0, most: 65_535, whole: true });
  await withEngine(options, async (engine, say) => {
    const images = await openModel(options.weights, { ...options, engine, say });
    const site = await pageSite();
    say('compiling');
    await warmUp(images);
    const ended = untilStopped();
    const onFailure = (error: unknown, isFatal: boolean): void => {
      tell(describeError(error));
      if (isFatal) ended.fail(error);
    };
    const application = predictionApp(images, { limits, site: site ?? new Map(), onFailure });
    try {
      const server = await listen(application.app, { host: options.host, port }).catch(unlistened);
      announce(server, images.name, site !== null, options.json ?? false);
      try {
        await ended.promise;
        say('stopping: requests under way are answered first');
      } finally {
        await server.close(GRACE_MS);
      }
    } finally {
      ended.release();
      await application.close();
      images.close();
    }
  });
}

/** The first pass compiles the kernels: nobody is to wait for that. */
async function warmUp(model: ServedModel): Promise<void> {
  await model.classifyPlanes(new Float32Array(3 * model.pipeline.imageSize ** 2), { nameOf: () => 'zeros' });
}

function limitsOf({ maxSize, rate, batchSize, maxWait }: ServeOptions): PredictionLimits {
  const bytes = parseBytes(maxSize);
  if (bytes < 1) throw new DeitError('bad-config', '--max-size is at least one byte.', { found: maxSize });
  return {
    ...usualLimits,
    bytes,
    rate: parseNumber(rate, '--rate', { least: 0, whole: true }),
    batch: parseBatchSize(batchSize),
    waitMs: parseNumber(maxWait, '--max-wait', { least: 0, most: 10_000 }),
  };
}

function announce({ url }: Listening, model: string, hasPage: boolean, asJson: boolean): void {
  tell(`${url}predict and ${url}health answer for ${model}`);
  tell(hasPage ? `page: ${url}` : 'page: not built (npm run site)');
  if (asJson) process.stdout.write(`${JSON.stringify({ url, model })}\n`);
}

function unlistened(cause: NodeJS.ErrnoException): never {
  const isTaken = cause.code === 'EADDRINUSE';
  throw new DeitError('bad-config', isTaken ? 'The port is taken.' : 'The server cannot listen there.', {
    where: '--host and --port',
    found: cause.message,
    fix: isTaken ? 'another one: --port N, or 0 for any that is free' : undefined,
    cause,
  });
}

/** Resolves at the first Ctrl-C or SIGTERM; the second one ends the process at once. */
function untilStopped() {
  let fail: (error: unknown) => void = () => undefined;
  let release = (): void => undefined;
  const promise = new Promise<void>((resolve, reject) => {
    fail = reject;
    const signals = { SIGINT: 130, SIGTERM: 143 } as const;
    const listeners = Object.entries(signals).map(([name, code]) => {
      let isFirst = true;
      const listener = (): void => {
        if (!isFirst) process.exit(code);
        isFirst = false;
        resolve();
      };
      process.on(name, listener);
      return () => process.off(name, listener);
    });
    release = () => listeners.forEach((stop) => stop());
  });
  return { promise, fail, release };
}
