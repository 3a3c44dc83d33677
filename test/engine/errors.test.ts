import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import {
  DeitError,
  createEngine,
  errorCatalogue,
  f32,
  launch,
  output,
  readSafetensorsFile,
} from '../../engine/node.ts';
import { add, matmul, mul, relu, sum, writeFileAtomically } from '../../engine/node.ts';
import type { Engine, ErrorCode, Kernel } from '../../engine/node.ts';
import { Linear } from '../../nn/index.ts';
import { createModel } from '../../deit/models/registry.ts';
import { nearestName } from '../../kernels/lib/errors.ts';
import { openData } from '../../deit/data/node/open.ts';
import { expectAgreement } from '../../deit/parallel/agreement.ts';
import { loadMpi } from '../../deit/parallel/node/library.ts';
import type { MpiLibrary } from '../../deit/parallel/node/library.ts';
import { mpich } from '../../deit/parallel/node/abi.ts';
import { MpiRanks } from '../../deit/parallel/node/mpi.ts';
import { resolveRecipe } from '../../deit/recipe/resolve.ts';
import { explainStep } from '../../deit/train/non-finite-guard.ts';
import { alignClasses, plainClasses } from '../../deit/weights/classes.ts';
import { ranksInProcess } from '../support/ranks.ts';

const folder = mkdtempSync(join(tmpdir(), 'deit-errors-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const invalid: Kernel<object> = () => [
  launch({
    name: 'invalid',
    bindings: [output('y')],
    uniforms: { x: f32(1) },
    wgsl: '@compute @workgroup_size(1) fn main() { y[0] = no_such_function(params.x); }',
    grid: [1, 1, 1],
    cost: { flops: 0, bytes: 0 },
  }),
];

/** For every code of the catalogue something that a user can do to meet it. */
const provocations: Readonly<Record<ErrorCode, (engine: Engine) => unknown>> = {
  'no-adapter': () => createEngine({ adapter: 'an adapter that nobody has' }),
  'device-lost': async (engine) => {
    engine.loseDevice();
    await engine.deviceLoss();
    return engine.zeros([4]).read();
  },
  'out-of-memory': async () => {
    const small = await createEngine({ memoryBudget: 2 ** 20, debug: false });
    try {
      await small.zeros([2 ** 20]).read();
    } finally {
      small.close();
    }
  },
  'gpu-validation': async (engine) => {
    engine.run('invalid', invalid, {}, { y: engine.empty([4]) });
    await engine.idle();
  },
  'engine-closed': (engine) => {
    engine.close();
    engine.zeros([1]);
  },
  'limit-exceeded': (engine) => engine.zeros([engine.limits.maxBufferSize]).read(),
  'feature-missing': async (engine) => {
    const { engine: dry } = engine.dry();
    await dry.timeDispatches(() => undefined);
  },
  'shape-mismatch': (engine) => matmul(engine.zeros([2, 3]), engine.zeros([2, 3])),
  'dtype-mismatch': (engine) => relu(engine.tensor([1, 2], [2], 'i32')),
  'bad-argument': (engine) => engine.empty([-1]),
  'no-gradient': (engine) => sum(engine.zeros([2, 3])).backward(),
  'tensor-expired': (engine) =>
    add(
      engine.scope(() => engine.zeros([2])),
      1,
    ),
  'tape-modified': (engine) => {
    const x = engine.tensor([1, 2]).requiresGrad_();
    const y = mul(x, x);
    x.write([3, 4]);
    sum(y).backward();
  },
  'non-finite': async () => {
    const metrics = { loss: NaN, lossLabel: NaN, lossDistillation: null, accuracy: 0, accuracyDistillation: null };
    const trainStep = { examine: () => Promise.resolve([]) };
    const place = { step: 4, steps: 10, epoch: 0, lr: 1e-3, imagesPerSecond: 1, secondsLeft: 6 };
    const progress = { ...metrics, ...place, gradNorm: NaN, nonFinite: 7, lossScale: null };
    throw await explainStep(trainStep as unknown as Parameters<typeof explainStep>[0], { progress, batches: [] }, true);
  },
  'file-unreadable': () => readSafetensorsFile(join(folder, 'absent.safetensors')),
  'file-unwritable': () => writeFileAtomically(join(folder, 'no', 'such', 'place'), [new Uint8Array(1)]),
  'file-corrupt': () => {
    const path = join(folder, 'corrupt.safetensors');
    writeFileSync(path, 'no header at all, just words');
    return readSafetensorsFile(path);
  },
  'state-mismatch': (engine) => new Linear(engine, 2, 2).loadStateDict(new Map()),
  'class-mismatch': () =>
    alignClasses({ head: plainClasses(['a', 'b']), count: 2, wanted: ['a', 'c'], policy: 'subset' }),
  'no-mpi': () => loadMpi(['libmpi-that-nobody-has.so']),
  'rank-failed': async () => {
    vi.stubEnv('DEIT_MPI_TIMEOUT', '0.01');
    // A library whose other ranks never come.
    const nothing = Object.assign(() => undefined, { async: () => Promise.resolve() });
    const initThread = (...[, , wanted, provided]: unknown[]) => (provided as Int32Array).set([wanted as number]);
    const routines = new Proxy({}, { get: (_, name) => (name === 'initThread' ? initThread : nothing) });
    await new MpiRanks({ abi: mpich, path: '', version: '', routines: routines as MpiLibrary['routines'] }).barrier();
  },
  'rank-mismatch': async () => {
    const agreements = ranksInProcess(2).map((ranks) => expectAgreement(ranks, { 'optim.lr': `${ranks.rank}` }));
    await Promise.all(agreements);
  },
  'unknown-name': (engine) => createModel(engine, 'deit_tinny_patch16_224'),
  'bad-config': () => resolveRecipe({ 'optim.lr': -1 }),
  'bad-data': () => {
    mkdirSync(join(folder, 'empty'));
    return openData(join(folder, 'empty'));
  },
};

describe('every code of the catalogue can be met', () => {
  for (const [code, provoke] of Object.entries(provocations)) {
    it(code, async () => {
      const engine = await createEngine();
      let error: unknown;
      try {
        await provoke(engine);
      } catch (thrown) {
        error = thrown;
      } finally {
        engine.close();
      }
      expect(error).toBeInstanceOf(DeitError);
      expect((error as DeitError).message).toContain(`[${code}] `);
      expect(error).toMatchObject({ code });
    });
  }

  it('and the catalogue says of each what it means', () => {
    expect(Object.keys(provocations).sort()).toEqual(Object.keys(errorCatalogue).sort());
    expect(Object.values(errorCatalogue).every((meaning) => /^[A-Z].*\.$/.test(meaning))).toBe(true);
  });
});

it('a message has the place, what was expected, what was found and what to do', () => {
  const details = { where: 'here', expected: 'this', found: 'that', fix: 'do so' };
  expect(new DeitError('bad-argument', 'It is wrong.', details).message).toBe(
    '[bad-argument] It is wrong.\n  at: here\n  expected: this\n  found: that\n  fix: do so',
  );
});

it('the name that was meant is the nearest, wherever it stands', () => {
  const nearest = (name: string, ...candidates: string[]): string | undefined => nearestName(name, candidates);
  // One letter more against three less, and the other way about.
  expect(nearest('softmax', 'softmaxx', 'soft')).toBe('softmaxx');
  expect(nearest('softmax', 'soft', 'softmaxx')).toBe('softmaxx');
  expect(nearest('softmax', 'matmul')).toBeUndefined();
});

it('a program reads the details of an error one by one', () => {
  const details = { where: 'x', expected: 'one', found: 'two', fix: 'take one' };
  const error = new DeitError('bad-argument', 'Not that.', details);
  expect(error).toMatchObject({ name: 'DeitError', code: 'bad-argument', details });
  expect(error.message).toBe('[bad-argument] Not that.\n  at: x\n  expected: one\n  found: two\n  fix: take one');
});
