/**
 * A device that belongs to somebody else, as the engine is to see it: `destroy` gives back the memory that was taken through
 * it and leaves the device alone. Errors that no scope catches are the owner's, whose handler stays in place; the engine
 * learns of its own by error scopes.
 */
export function sharedDevice(device: GPUDevice): GPUDevice {
  const buffers = new Set<GPUBuffer>();
  const createBuffer = (descriptor: GPUBufferDescriptor): GPUBuffer => {
    const buffer = device.createBuffer(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      buffers.delete(buffer);
      return destroy();
    };
    buffers.add(buffer);
    return buffer;
  };
  const destroy = (): void => {
    for (const buffer of buffers) buffer.destroy();
  };
  const own: Readonly<Record<PropertyKey, unknown>> = { createBuffer, destroy };
  return new Proxy(device, {
    get(target, name) {
      if (Object.hasOwn(own, name)) return own[name];
      // With the device as `this`: a method or a getter of the platform refuses a proxy.
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
    set: (_target, name) => name === 'onuncapturederror',
  });
}
