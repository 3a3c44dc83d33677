import { afterAll, beforeAll } from 'vitest';
import { createEngine } from '../../engine/node.ts';
import type { Engine, EngineOptions, Tensor } from '../../engine/node.ts';

/** One engine for a test file: `const engine = useEngine();`, then `engine()` inside tests. */
export function useEngine(options: EngineOptions = {}): () => Engine {
  let engine: Engine | null = null;
  beforeAll(async () => {
    engine = await createEngine({ seed: 0, ...options });
  });
  afterAll(() => engine?.close());
  return () => engine!;
}

/** A tensor that wants a gradient. */
export const leaf = (gpu: Engine, data: ArrayLike<number>, shape: readonly number[]): Tensor =>
  gpu.tensor(data, shape).requiresGrad_();
