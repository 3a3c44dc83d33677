import type { Launch } from '../../kernels/lib/kernel.ts';
import { ShaderStage } from './constants.ts';

export interface Layout {
  readonly group: GPUBindGroupLayout;
  readonly pipeline: GPUPipelineLayout;
}

/** Makes pipelines on one device. */
export class PipelineBuilder {
  private readonly layouts = new Map<string, Layout>();

  constructor(readonly device: GPUDevice) {}

  /** Rejects with what is wrong with the code. */
  build(launch: Launch): Promise<GPUComputePipeline> {
    // What is wrong with the code is told by the pipeline, where it belongs to a kernel.
    this.device.pushErrorScope('validation');
    const module = this.device.createShaderModule({ code: launch.code, label: launch.name });
    void this.device.popErrorScope().catch(() => null);
    return this.device.createComputePipelineAsync({
      label: launch.name,
      layout: this.layout(launch).pipeline,
      compute: { module, entryPoint: 'main' },
    });
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
