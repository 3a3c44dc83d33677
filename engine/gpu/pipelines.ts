import { DeitError } from '../../kernels/lib/errors.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';
import { CompileAhead } from './compile-ahead.ts';
import type { GpuContext } from './context.ts';
import { PipelineBuilder } from './pipeline-builder.ts';
import type { PipelineEntry } from './pipeline-builder.ts';

/** Pipelines by their full WGSL text; compilation starts when an operator is first recorded and runs in parallel. */
export class PipelineCache {
  private readonly builder: PipelineBuilder;
  private readonly ahead: CompileAhead | null;
  private readonly entries = new Map<string, PipelineEntry>();

  constructor({ device, openSecondDevice }: GpuContext) {
    this.builder = new PipelineBuilder(device);
    this.ahead = openSecondDevice && new CompileAhead(this.builder, openSecondDevice);
  }

  get size(): number {
    return this.entries.size;
  }

  get(launch: Launch): PipelineEntry {
    let entry = this.entries.get(launch.code);
    if (!entry) {
      entry = this.compile(launch);
      this.entries.set(launch.code, entry);
    }
    return entry;
  }

  close(): void {
    this.ahead?.close();
  }

  private compile(launch: Launch): PipelineEntry {
    const compiled = this.builder.build(launch).then(async (pipeline) => {
      await this.ahead?.compile(launch, pipeline);
      return pipeline;
    });
    const entry: PipelineEntry = {
      id: this.entries.size + 1,
      name: launch.name,
      layout: this.builder.layout(launch).group,
      pipeline: null,
      error: null,
      ready: compiled.then(
        (pipeline) => {
          entry.pipeline = pipeline;
        },
        (cause: unknown) => {
          entry.error = new DeitError('gpu-validation', 'A kernel did not compile on this adapter.', {
            where: `kernel ${launch.name}`,
            found: cause instanceof Error ? cause.message : String(cause),
            fix: 'report this with the output of `deit doctor`; another adapter may accept it',
            cause,
          });
        },
      ),
    };
    return entry;
  }
}
