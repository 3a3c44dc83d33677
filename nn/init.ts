/**
 * Initial values of parameters. Every tensor draws from a stream of its own (see kernels/lib/philox.ts, purpose `init`), so
 * the values depend on the engine's seed and on the place in the model alone.
 */
import { DeitError, Purpose, randomNormal, randomUniform } from '../engine/index.ts';
import type { Engine, Shape, Tensor } from '../engine/index.ts';

const nextStream = new WeakMap<Engine, number>();

function takeStream(engine: Engine): number {
  const stream = nextStream.get(engine) ?? 0;
  nextStream.set(engine, (stream + 1) >>> 0);
  return stream;
}

/**
 * Runs `build` with the streams of initial values counted from a number that follows from `name`: a model then starts
 * with the same values whatever else was built or trained before it. Sets the engine's step back to 0, since random
 * kernels draw by it; a training step sets its own.
 */
export function initScope<Result>(engine: Engine, name: string, build: () => Result): Result {
  const before = nextStream.get(engine) ?? 0;
  nextStream.set(engine, hash(name));
  engine.setStep(0);
  try {
    return build();
  } finally {
    nextStream.set(engine, before);
  }
}

/** FNV-1a, 32 bits. */
function hash(name: string): number {
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) h = Math.imul(h ^ byte, 0x01000193);
  return h >>> 0;
}

/**
 * N(0, std^2). With std .02 this is also timm's and PyTorch's trunc_normal_ as DeiT calls it: their bounds -2 and 2 are
 * absolute values, 100 standard deviations away.
 */
export function normal(engine: Engine, shape: Shape, std: number): Tensor {
  return randomNormal(engine, shape, { std, purpose: Purpose.init, stream: takeStream(engine) });
}

/** U(-bound, bound). */
export function uniform(engine: Engine, shape: Shape, bound: number): Tensor {
  return randomUniform(engine, shape, {
    low: -bound,
    high: bound,
    purpose: Purpose.init,
    stream: takeStream(engine),
  });
}

/** The default of PyTorch's Linear and Conv layers, weight and bias alike: U(-1/sqrt(fanIn), 1/sqrt(fanIn)). */
export function kaimingUniform(engine: Engine, shape: Shape, fanIn: number): Tensor {
  if (!(fanIn > 0)) {
    throw new DeitError('bad-argument', 'A layer has inputs.', { where: 'kaimingUniform', found: `fan-in ${fanIn}` });
  }
  return uniform(engine, shape, 1 / Math.sqrt(fanIn));
}
