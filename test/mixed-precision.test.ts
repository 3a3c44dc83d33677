import { describe, expect, it } from 'vitest';
import { autocast, gelu, layerNorm, linear, matmul, mlp, mul, softmax, sum, to } from '../engine/node.ts';
import { createModel } from '../deit/models/registry.ts';
import type { VisionTransformer } from '../deit/models/deit.ts';
import { expectClose, uniform } from './support/close.ts';
import { useEngine } from './support/engine.ts';
import { HALF_UNIT, rounded } from './support/half.ts';

const engine = useEngine();

describe('debug', () => {
  it('one model', async () => {
    const model = createModel(engine(), 'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=2 heads=3 num_classes=10') as VisionTransformer;
    const images = engine().tensor(uniform(4 * 3 * 1024, 1), [4, 3, 32, 32]);
    const f32 = await model.heads(images).cls.read();
    model.precision = 'f16';
    const { cls } = model.heads(images);
    expect(cls.dtype).toBe('f32');
    const f16 = await cls.read();
    console.log(f32.slice(0, 4), f16.slice(0, 4));
    mul(sum(cls), 1000).backward();
    for (const [name, p] of model.namedParameters()) console.log(name, p.grad?.dtype, (await p.grad?.read())?.slice(0, 3));
    void [autocast, gelu, layerNorm, linear, matmul, mlp, softmax, to, expectClose, HALF_UNIT, rounded];
  });
});
