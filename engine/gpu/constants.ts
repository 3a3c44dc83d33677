/**
 * Flags of the WebGPU specification. Globals of these names are there only where WebGPU is, and recording without a device
 * needs them too.
 */
export const BufferUsage = {
  MAP_READ: 0x1,
  MAP_WRITE: 0x2,
  COPY_SRC: 0x4,
  COPY_DST: 0x8,
  UNIFORM: 0x40,
  STORAGE: 0x80,
  INDIRECT: 0x100,
  QUERY_RESOLVE: 0x200,
} as const satisfies Partial<Record<keyof GPUBufferUsage, number>>;

export const ShaderStage = { COMPUTE: 0x4 } as const;

export const MapMode = { READ: 0x1, WRITE: 0x2 } as const;
