import { measurePeak, writeFileAtomically } from '../../engine/node.ts';
import type { DispatchTime, Engine } from '../../engine/node.ts';
import { AdamW, decayGroups } from '../../nn/index.ts';
import type { Classifier } from '../models/classifier.ts';
import type { Precision } from '../models/deit.ts';
import { createModel, describeModel } from '../models/registry.ts';
import { byKernel, toTrace } from '../profile.ts';
import { applyPrecision, scalerFor } from '../train/setup.ts';
import { TrainStep } from '../train/step.ts';
import { percent } from './progress.ts';
import { parseNumber, withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface ProfileOptions extends GlobalOptions {
  mode: 'forward' | 'train';
  batchSize: string;
  precision: Precision;
  trace?: string;
}

/** `deit profile`: time by kernel of one forward pass or training step, against what the adapter can do. */
export async function profile(spec: string, options: ProfileOptions): Promise<void> {
  await withEngine(options, async (engine, say) => {
    const batchSize = parseNumber(options.batchSize, '--batch-size');
    const model = createModel(engine, spec);
    applyPrecision(model, options.precision);
    const { imageSize } = describeModel(spec);
    const work = (options.mode === 'train' ? trainingStep : forwardPass)(engine, model, imageSize, batchSize);
    // The first run compiles, the second shows that nothing else is left to be made.
    await work();
    await work();
    const start = performance.now();
    await work();
    const wallMs = performance.now() - start;
    const times: DispatchTime[] = await engine.timeDispatches(work);
    const peak = await measurePeak(engine);
    const rows = byKernel(times);
    const gpuMs = rows.reduce((sum, { ms }) => sum + ms, 0);
    say(
      `${options.mode} of ${spec} in ${options.precision}, batch ${batchSize}: ${wallMs.toFixed(1)} ms, ${((1000 * batchSize) / wallMs).toFixed(1)} images/s`,
    );
    say(
      `kernels ${gpuMs.toFixed(1)} ms in ${times.length} dispatches; peak ${(peak.flops / 1e9).toFixed(0)} GFLOP/s, ${(peak.bytes / 1e9).toFixed(1)} GB/s`,
    );
    const width = Math.max(...rows.map(({ kernel }) => kernel.length));
    say(`  ${'kernel'.padEnd(width)}  calls        ms   share  GFLOP/s  of peak   GB/s  of peak`);
    for (const { kernel, dispatches, ms, share, gflops, gbytes } of rows) {
      const cells = [
        kernel.padEnd(width),
        String(dispatches).padStart(5),
        ms.toFixed(2).padStart(8),
        percent(share).padStart(7),
        gflops.toFixed(1).padStart(8),
        percent((gflops * 1e9) / peak.flops).padStart(8),
        gbytes.toFixed(1).padStart(6),
        percent((gbytes * 1e9) / peak.bytes).padStart(8),
      ];
      say(`  ${cells.join(' ')}`);
    }
    if (options.trace) {
      await writeFileAtomically(options.trace, [Buffer.from(JSON.stringify(toTrace(times)))]);
      say(`trace for ui.perfetto.dev: ${options.trace}`);
    }
    if (options.json)
      process.stdout.write(`${JSON.stringify({ wallMs, gpuMs, dispatches: times.length, peak, kernels: rows })}\n`);
  });
}

function forwardPass(engine: Engine, model: Classifier, imageSize: number, batchSize: number): () => Promise<void> {
  model.eval();
  const images = engine.zeros([batchSize, 3, imageSize, imageSize]);
  let recording: ReturnType<Engine['record']> | null = null;
  return async () => {
    if (recording) engine.replay(recording);
    else recording = engine.record(() => void engine.noGrad(() => model.heads(images)));
    await engine.idle();
  };
}

function trainingStep(engine: Engine, model: Classifier, imageSize: number, batchSize: number): () => Promise<void> {
  // Nothing reaches the distillation head without a teacher.
  for (const [name, parameter] of model.namedParameters()) parameter.requiresGrad_(!name.startsWith('head_dist'));
  const optimizer = new AdamW(decayGroups(model.namedParameters(), 0.05), { scaler: scalerFor(model) });
  const step = new TrainStep({
    engine,
    student: model,
    teacher: null,
    optimizer,
    distillation: { type: 'none', alpha: 0, tau: 1, scaling: 'all' },
    smoothing: 0.1,
    mixing: null,
    ema: null,
    batchSize,
    accumulate: 1,
    imageSize,
  });
  const images = new Float32Array(batchSize * 3 * imageSize * imageSize).fill(0.1);
  const labels = new Int32Array(batchSize);
  return async () => {
    await step.run([{ epoch: 0, number: 0, size: batchSize, images, labels }], 0, 0);
  };
}
