import type { DeitError } from '../../kernels/lib/errors.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';
import { ShaderStage } from './constants.ts';

export interface Layout {
  readonly group: GPUBindGroupLayout;
  readonly pipeline: GPUPipelineLayout;
}

/** A compute pipeline that is being, or has been, compiled. */
export interface PipelineEntry {
  readonly id: number;
  readonly name: string;
  readonly layout: GPUBindGroupLayout;
  readonly ready: Promise<void>;
  pipeline: GPUComputePipeline | null;
  error: DeitError | null;
}

/** WGSL demands this line of programs that use subgroups; naga, of Firefox and Deno, refuses it and has them without. */
export const ENABLE_SUBGROUPS = 'enable subgroups;\n';

/** Makes pipelines on one device. */
export class PipelineBuilder {
  private readonly layouts = new Map<string, Layout>();
  private takesEnableSubgroups: Promise<boolean> | null = null;

  constructor(readonly device: GPUDevice) {}

  /** Rejects with what is wrong with the code. */
  async build(launch: Launch): Promise<GPUComputePipeline> {
    const isRefused = launch.code.includes(ENABLE_SUBGROUPS) && !(await this.enablesSubgroups());
    const code = isRefused ? launch.code.replace(ENABLE_SUBGROUPS, '') : launch.code;
    // What is wrong with the code is told by the pipeline, where it belongs to a kernel.
    this.device.pushErrorScope('validation');
    const module = this.device.createShaderModule({ code, label: launch.name });
    void this.device.popErrorScope().catch(() => null);
    return this.device.createComputePipelineAsync({
      label: launch.name,
      layout: this.layout(launch).pipeline,
      compute: { module, entryPoint: 'main' },
    });
  }

  private enablesSubgroups(): Promise<boolean> {
    return (this.takesEnableSubgroups ??= this.accepts(`${ENABLE_SUBGROUPS}@compute @workgroup_size(1) fn main() {}`));
  }

  private async accepts(code: string): Promise<boolean> {
    this.device.pushErrorScope('validation');
    this.device.createShaderModule({ code, label: 'probe' });
    return (await this.device.popErrorScope().catch(() => null)) === null;
  }

  /** Explicit layouts, so that a binding that a variant happens not to read is no error. */
  layout(launch: Launch): Layout {
    const hasUniforms = launch.uniforms.length > 0;
    const key = launch.bindings.map((b) => (b.access === 'read' ? 'r' : 'w')).join('') + (hasUniforms ? 'u' : '');
    let layout = this.layouts.get(key);
    if (!layout) {
      const types: GPUBufferBindingType[] = launch.bindings.map((b) =>
        b.access === 'read' ? 'read-only-storage' : 'storage',
      );
      if (hasUniforms) types.push('uniform');
      // What is wrong with the layout is told by the pipeline too.
      this.device.pushErrorScope('validation');
      const group = this.device.createBindGroupLayout({
        label: key,
        entries: types.map((type, binding) => ({ binding, visibility: ShaderStage.COMPUTE, buffer: { type } })),
      });
      layout = { group, pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [group] }) };
      void this.device.popErrorScope().catch(() => null);
      this.layouts.set(key, layout);
    }
    return layout;
  }
}
