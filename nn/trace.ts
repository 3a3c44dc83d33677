import type { TensorEngine } from '../engine/index.ts';
import { Module } from './module.ts';

type Method = (...args: unknown[]) => unknown;

/**
 * Runs `work` with the engine told, during every call of a method of a module in the tree, which module that is: what
 * operators record then carries the path. The methods are wrapped for that time only; calls cost nothing otherwise.
 */
export function withModulePaths<Result>(
  engine: TensorEngine,
  root: Module,
  prefix: string,
  work: () => Result,
): Result {
  const wrapped: [Module, string][] = [];
  try {
    for (const [path, module] of root.namedModules(prefix)) {
      for (const name of methodsOf(module)) {
        const method = (module as unknown as Record<string, Method>)[name];
        const traced: Method = (...args) => engine.within(path, () => method.apply(module, args));
        Object.defineProperty(module, name, { value: traced, configurable: true });
        wrapped.push([module, name]);
      }
    }
    return work();
  } finally {
    for (const [module, name] of wrapped) Reflect.deleteProperty(module, name);
  }
}

/** Methods of a module's own classes, below `Module`. */
function methodsOf(module: Module): string[] {
  const names = new Set<string>();
  let prototype = Object.getPrototypeOf(module) as object;
  while (prototype !== Module.prototype) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      const isMethod = typeof value === 'function' && name !== 'constructor';
      if (isMethod && !(name in Module.prototype) && !Object.hasOwn(module, name)) names.add(name);
    }
    prototype = Object.getPrototypeOf(prototype) as object;
  }
  return [...names];
}
