import { describe, expect, it } from 'vitest';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { Kernel } from '../../kernels/lib/kernel.ts';
import {
  assembleTokens as assembleKernel,
  tokensEmbeddingGradient,
  tokensPatchGradient,
} from '../../kernels/tokens/index.ts';
import { tokensReference } from '../../kernels/tokens/reference.ts';
import { DeitError, assembleTokens } from '../../engine/index.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

interface Case {
  batch: number;
  patches: number;
  width: number;
  dist: boolean;
}
const cases: Case[] = [
  { batch: 3, patches: 4, width: 8, dist: true },
  { batch: 2, patches: 9, width: 64, dist: false },
  { batch: 2, patches: 25, width: 30, dist: true },
  { batch: 5, patches: 7, width: 5, dist: false },
  { batch: 1, patches: 1, width: 1, dist: true },
  { batch: 1, patches: 1, width: 1, dist: false },
  { batch: 2, patches: 3, width: 516, dist: true },
];

/** Inputs, dy, and what the formulas give for them, in float64. */
function reference(problem: Case) {
  const { batch, patches: n, width: d } = problem;
  const tokens = n + (problem.dist ? 2 : 1);
  const given = {
    patches: uniform(batch * n * d, 1),
    cls: uniform(d, 2),
    dist: uniform(d, 3),
    pos: uniform(tokens * d, 4),
    dy: uniform(batch * tokens * d, 5),
  };
  return { given, tokens, ...tokensReference(problem, given) };
}

// One addition, and sums of at most five terms: a few roundings of 6e-8.
const TOLERANCE = 2e-7;

describe.each(assembleKernel.variants)('assembleTokens, variant %s', (variant) => {
  const engine = useEngine({ variant });

  it.each(cases)('is the formula, and so are its gradients: %o', async (problem) => {
    const { given, tokens, ...expected } = reference(problem);
    const { batch, patches: n, width: d, dist } = problem;
    const leaf = (data: Float32Array, shape: number[]) => engine().tensor(data, shape).requiresGrad_();
    const patches = leaf(given.patches, [batch, n, d]);
    const cls = leaf(given.cls, [1, 1, d]);
    const token = dist ? leaf(given.dist, [1, 1, d]) : null;
    const pos = leaf(given.pos, [1, tokens, d]);
    const y = assembleTokens(patches, cls, token, pos);
    y.backward(engine().tensor(given.dy, y.shape));
    expect(y.shape).toEqual([batch, tokens, d]);
    expectClose(await y.read(), expected.y, TOLERANCE);
    expectClose(await patches.grad!.read(), expected.dpatches, 0);
    expectClose(await pos.grad!.read(), expected.dpos, TOLERANCE);
    expectClose(await cls.grad!.read(), expected.dcls, TOLERANCE);
    if (token) expectClose(await token.grad!.read(), expected.ddist, TOLERANCE);
  });

  it('gives the embeddings that are trained their gradient when others are frozen', async () => {
    const problem = cases[0];
    const { given, tokens, ...expected } = reference(problem);
    const shape = [1, 1, problem.width];
    const patches = engine().tensor(given.patches, [problem.batch, problem.patches, problem.width]);
    const cls = engine().tensor(given.cls, shape);
    const dist = engine().tensor(given.dist, shape).requiresGrad_();
    const y = assembleTokens(patches, cls, dist, engine().tensor(given.pos, [1, tokens, problem.width]));
    y.backward(engine().tensor(given.dy, y.shape));
    expectClose(await dist.grad!.read(), expected.ddist, TOLERANCE);
    expect([patches.grad, cls.grad]).toEqual([null, null]);
  });

  it('splits what exceeds the largest binding', async () => {
    const problem: Case = { batch: 7, patches: 4, width: 64, dist: true };
    const { given, tokens, ...expected } = reference(problem);
    // Two images of a batch fit into 4096 bytes.
    const small =
      <Problem>(kernel: Kernel<Problem>): Kernel<Problem> =>
      (p, device: DeviceProfile) =>
        kernel(p, { ...device, maxBindingSize: 4096 });
    const { batch, patches: n, width: d } = problem;
    const tensor = (data: Float32Array) => engine().tensor(data);
    const y = engine().empty([batch, tokens, d]);
    const inputs = { patches: tensor(given.patches), cls: tensor(given.cls), dist: tensor(given.dist) };
    engine().run('test', small(assembleKernel), problem, { ...inputs, pos: tensor(given.pos), y });
    expectClose(await y.read(), expected.y, TOLERANCE);
    const dy = tensor(given.dy);
    const dpatches = engine().empty([batch, n, d]);
    engine().run('test', small(tokensPatchGradient), problem, { dy, dpatches });
    expectClose(await dpatches.read(), expected.dpatches, 0);
    const [dpos, dcls, ddist] = [engine().empty([tokens, d]), engine().empty([d]), engine().empty([d])];
    const embedding = { ...problem, wanted: ['dcls', 'ddist', 'dpos'] as const };
    engine().run('test', small(tokensEmbeddingGradient), embedding, { dy, dpos, dcls, ddist });
    expectClose(await dpos.read(), expected.dpos, TOLERANCE);
    expectClose(await dcls.read(), expected.dcls, TOLERANCE);
    expectClose(await ddist.read(), expected.ddist, TOLERANCE);
  });

  it.each(cases)('counts an addition for each element, and what is read and written: %o', (problem) => {
    const { batch, patches: n, width } = problem;
    const tokens = n + (problem.dist ? 2 : 1);
    const launches = assembleKernel(problem, engine().profile);
    const of = (key: 'flops' | 'bytes'): number => launches.reduce((sum, { cost }) => sum + cost[key], 0);
    expect(of('flops')).toBe(batch * tokens * width);
    // The patches, the positions of each image, and the result.
    expect(of('bytes')).toBe(4 * batch * (n * width + 2 * tokens * width));
  });

  it('refuses sizes of 0', () => {
    for (const changed of [{ batch: 0 }, { patches: 0 }, { width: 0 }]) {
      const problem = { batch: 2, patches: 3, width: 4, dist: true, ...changed };
      expect(() => assembleKernel(problem, engine().profile)).toThrow(/positive sizes/);
    }
  });

  it('refuses embeddings of another size', () => {
    const zeros = (...shape: number[]) => engine().zeros(shape);
    const call = () => assembleTokens(zeros(2, 4, 8), zeros(1, 1, 8), zeros(1, 1, 8), zeros(1, 5, 8));
    expect(call).toThrow(DeitError);
    expect(call).toThrow(/\[1, 6, 8\]/);
  });
});
