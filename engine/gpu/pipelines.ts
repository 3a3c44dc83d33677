import { DeitError } from '../../kernels/errors.ts';
import type { Launch } from '../../kernels/kernel.ts';

/** A compute pipeline that is being, or has been, compiled. */
export interface PipelineEntry {
  readonly id: number;
  readonly name: string;
  readonly layout: GPUBindGroupLayout;
  readonly ready: Promise<void>;
  pipeline: GPUComputePipeline | null;
  error: DeitError | null;
}

/** Pipelines by their full WGSL text; compilation starts when an operator is first recorded and runs in parallel. */
export class PipelineCache {
  private readonly device: GPUDevice;
  private readonly entries = new Map<string, PipelineEntry>();
  private readonly layouts = new Map<string, { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();

  constructor(device: GPUDevice) {
    this.device = device;
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

  private compile(launch: Launch): PipelineEntry {
    const layout = this.layout(launch);
    // What is wrong with the code is told by the pipeline, where it belongs to a kernel.
    this.device.pushErrorScope('validation');
    const module = this.device.createShaderModule({ code: launch.code, label: launch.name });
    void this.device.popErrorScope().catch(() => null);
    const compiled = this.device.createComputePipelineAsync({
      label: launch.name,
      layout: layout.pipeline,
      compute: { module, entryPoint: 'main' },
    });
    const entry: PipelineEntry = {
      id: this.entries.size + 1,
      name: launch.name,
      layout: layout.group,
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

  /** Explicit layouts, so that a binding that a variant happens not to read is no error. */
  private layout(launch: Launch): { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    const hasUniforms = launch.uniforms.length > 0;
    const key = launch.bindings.map((b) => (b.access === 'read' ? 'r' : 'w')).join('') + (hasUniforms ? 'u' : '');
    let layout = this.layouts.get(key);
    if (!layout) {
      const types: GPUBufferBindingType[] = launch.bindings.map((b) =>
        b.access === 'read' ? 'read-only-storage' : 'storage',
      );
      if (hasUniforms) types.push('uniform');
      const group = this.device.createBindGroupLayout({
        label: key,
        entries: types.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } })),
      });
      layout = { group, pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [group] }) };
      this.layouts.set(key, layout);
    }
    return layout;
  }
}
