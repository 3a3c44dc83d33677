import { describeTuning, measurePeak, tune, writeFileAtomically } from '../../engine/node.ts';
import type { DispatchTime, Engine } from '../../engine/node.ts';
import { AdamW, decayGroups } from '../../nn/index.ts';
import type { Classifier, Precision } from '../models/classifier.ts';
import { createModel, describeModel } from '../models/registry.ts';
import { byKernel, toTrace } from '../profile.ts';
import { applyPrecision, scalerFor } from '../train/setup.ts';
import { TrainStep } from '../train/step.ts';
import { percent } from './progress.ts';
import { parseBatchSize, withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface ProfileOptions extends GlobalOptions {
  mode: 'forward' | 'train';
  batchSize: string;
  precision: Precision;
  trace?: string;
  tune?: boolean;
}

/** What is profiled. */
interface Work {
  readonly run: () => Promise<void>;
  /** Lets go of what was recorded, so that the next run records anew. */
  readonly forget: () => void;
}

/** `deit profile`: time by kernel of one forward pass or training step, against what the adapter can do. */
export async function profile(spec: string, options: ProfileOptions): Promise<void> {
  const batchSize = parseBatchSize(options.batchSize);
  await withEngine(options, async (engine, say) => {
    const model = createModel(engine, spec);
    applyPrecision(model, options.precision);
    const { imageSize } = describeModel(spec);
    const { run, forget } = (options.mode === 'train' ? trainingStep : forwardPass)(
      engine,
      model,
      imageSize,
      batchSize,
    );
    const asked = await engine.variants.collect(run);
    const untunedMs = options.tune ? await timeOf(run) : null;
    if (options.tune) {
      const report = await tune(engine, asked);
      say(`tuner: ${describeTuning(report)}`);
      for (const { what, count, usual, chosen } of report.measured) {
        if (chosen.name === usual.name) continue;
        say(`  ${count} x ${what}: ${usual.name} ${usual.ms.toFixed(2)} ms, ${chosen.name} ${chosen.ms.toFixed(2)} ms`);
      }
      forget();
      await run();
    }
    const wallMs = await timeOf(run);
    if (untunedMs !== null)
      say(`without the tuner's choices ${untunedMs.toFixed(1)} ms, with them ${wallMs.toFixed(1)} ms`);
    const times: DispatchTime[] = await engine.timeDispatches(run);
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
      process.stdout.write(
        `${JSON.stringify({ wallMs, untunedMs, gpuMs, dispatches: times.length, peak, kernels: rows })}\n`,
      );
  });
}

/** Milliseconds of one run, the median of three; the run before has compiled, and one more shows that nothing else is made. */
async function timeOf(run: () => Promise<void>): Promise<number> {
  await run();
  const samples: number[] = [];
  for (let i = 0; i < 3; i++) {
    const start = performance.now();
    await run();
    samples.push(performance.now() - start);
  }
  return samples.sort((a, b) => a - b)[1];
}

function forwardPass(engine: Engine, model: Classifier, imageSize: number, batchSize: number): Work {
  model.eval();
  const images = engine.zeros([batchSize, 3, imageSize, imageSize]);
  let recording: ReturnType<Engine['record']> | null = null;
  return {
    async run() {
      if (recording) engine.replay(recording);
      else recording = engine.record(() => void engine.noGrad(() => model.heads(images)));
      await engine.idle();
    },
    forget() {
      recording?.release();
      recording = null;
    },
  };
}

function trainingStep(engine: Engine, model: Classifier, imageSize: number, batchSize: number): Work {
  // Nothing reaches the distillation head without a teacher.
  for (const [name, parameter] of model.namedParameters()) parameter.requiresGrad_(!name.startsWith('head_dist'));
  const optimizer = new AdamW(decayGroups(model.namedParameters(), 0.05), { scaler: scalerFor(model) });
  const newStep = (): TrainStep =>
    new TrainStep({
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
  let step = newStep();
  return {
    async run() {
      await step.run([{ epoch: 0, number: 0, size: batchSize, images, labels }], 0, 0);
    },
    forget() {
      step.release();
      step = newStep();
    },
  };
}
