import { DeitError, Tensor } from '../engine/index.ts';
import { FieldScan } from './fields.ts';
import { outline } from './outline.ts';
import { nameParameter } from './param-groups.ts';
import { writeState } from './state.ts';
import type { Counter, LoadOptions, LoadReport, StateValue, TensorDescription } from './state.ts';

/**
 * Base class of layers and models: a tree of modules with named parameters (trained), buffers (such as running
 * statistics) and counters. Names are joined with dots and, in the models of this package, are timm's.
 *
 * As in PyTorch, what is assigned to a field is registered under the field's name: a module as a part, and a leaf tensor that
 * requires a gradient as a parameter. `child`, `parameter` and `buffer` register under another name. Lists of modules go into
 * a `ModuleList` or a `Sequential`; one in a plain array throws `bad-argument`, which names the field.
 */
export class Module {
  /** Whether dropout and the like are active: set for the whole tree by `train` and `eval`. */
  training = true;
  private readonly ownModules = new Map<string, Module>();
  private readonly ownParameters = new Map<string, Tensor>();
  private readonly ownBuffers = new Map<string, Tensor>();
  private readonly ownCounters = new Map<string, Counter>();
  private readonly fields = new FieldScan((value) => value instanceof Module);

  /** Registers a part under `name` (which may contain dots), and returns it. */
  protected child<Part extends Module>(name: string, module: Part): Part {
    expectInstance(this, name, module, Module, 'a Module');
    this.ownModules.set(name, module);
    return module;
  }

  /** Registers a trained tensor, which is kept from now on, and returns it. */
  protected parameter(name: string, tensor: Tensor): Tensor {
    expectInstance(this, name, tensor, Tensor, 'a Tensor');
    this.ownParameters.set(name, tensor.keep('parameter').requiresGrad_());
    return tensor;
  }

  /** Registers a tensor that belongs to the state but is not trained; it is kept from now on. */
  protected buffer(name: string, tensor: Tensor): Tensor {
    expectInstance(this, name, tensor, Tensor, 'a Tensor');
    this.ownBuffers.set(name, tensor.keep('buffer'));
    return tensor;
  }

  /** Registers an integer of the state, at first 0. */
  protected counter(name: string): Counter {
    const counter = { value: 0 };
    this.ownCounters.set(name, counter);
    return counter;
  }

  /** This module under `prefix`, and all below it, parents first, each once. Those in `seen` are left out. */
  *namedModules(prefix = '', seen = new Set<Module>()): Generator<[string, Module]> {
    if (seen.has(this)) return;
    seen.add(this);
    this.fields.register(this, {
      modules: this.ownModules,
      parameters: this.ownParameters,
      buffers: this.ownBuffers,
    });
    yield [prefix, this];
    for (const [name, module] of this.ownModules) yield* module.namedModules(join(prefix, name), seen);
  }

  /** Types and shapes of this module and those below it, without looking at values: also half made, and without registering. */
  toString(): string {
    const modules = new Map(this.ownModules);
    const tensors = new Map(this.ownParameters);
    const isKnown = (value: unknown): boolean =>
      [...modules.values(), ...tensors.values()].some((own) => own === value);
    for (const [name, value] of Object.entries(this) as [string, unknown][]) {
      if (isKnown(value)) continue;
      if (value instanceof Module) modules.set(name, value);
      else if (value instanceof Tensor && value.requiresGrad) tensors.set(name, value);
    }
    return outline(this.constructor.name, tensors, modules);
  }

  /** What `console.log` shows in Node. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  /** Parameters with their full names, in the order of the state dict; one with two names is there once. */
  namedParameters(prefix = ''): [string, Tensor][] {
    return this.collect(prefix, (module) => module.ownParameters);
  }

  /** What to give to an optimizer, which knows the names too. */
  parameters(): Tensor[] {
    const named = this.namedParameters();
    for (const [name, tensor] of named) nameParameter(tensor, name);
    return named.map(([, tensor]) => tensor);
  }

  /** Buffers with their full names. */
  namedBuffers(prefix = ''): [string, Tensor][] {
    return this.collect(prefix, (module) => module.ownBuffers);
  }

  /** Counters with their full names. */
  namedCounters(prefix = ''): [string, Counter][] {
    return this.collect(prefix, (module) => module.ownCounters);
  }

  /** Parameters and buffers by name, in PyTorch's order: those of a module before those of its parts. */
  stateDict(): Map<string, Tensor> {
    return new Map(this.collect<Tensor>('', (module) => [...module.ownParameters, ...module.ownBuffers]));
  }

  /**
   * Replaces parameters, buffers and counters by host data. Throws `state-mismatch`, before anything is changed, with
   * every tensor that is missing, unexpected or misshapen. Counters may be missing: older checkpoints have none.
   */
  loadStateDict(given: ReadonlyMap<string, StateValue>, options: LoadOptions = {}): LoadReport {
    return writeState(this.stateDict(), given, options, new Map(this.namedCounters()));
  }

  /** Names, shapes and kinds of all tensors of the state, in the order of the state dict. */
  namedTensors(): TensorDescription[] {
    return this.collect<Omit<TensorDescription, 'name'>>('', ({ ownParameters, ownBuffers, ownCounters }) => [
      ...[...ownParameters].map(([name, { shape }]) => [name, { shape, kind: 'parameter' }] as const),
      ...[...ownBuffers].map(([name, { shape }]) => [name, { shape, kind: 'buffer' }] as const),
      ...[...ownCounters.keys()].map((name) => [name, { shape: [], kind: 'counter' }] as const),
    ]).map(([name, description]) => ({ name, ...description }));
  }

  /** Switches the whole tree to training mode (or out of it), and returns this. */
  train(mode = true): this {
    for (const [, module] of this.namedModules()) module.training = mode;
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Says of every parameter whether it is trained: `requiresGrad_(false)` freezes a model. */
  requiresGrad_(flag = true): this {
    for (const parameter of this.parameters()) parameter.requiresGrad_(flag);
    return this;
  }

  /** Trained numbers, as the model tables of papers count them. */
  numParameters(): number {
    return this.parameters().reduce((sum, { size }) => sum + size, 0);
  }

  private collect<Item>(prefix: string, own: (module: Module) => Iterable<readonly [string, Item]>): [string, Item][] {
    const names = new Map<Item, string>();
    for (const [path, module] of this.namedModules(prefix)) {
      for (const [name, item] of own(module)) if (!names.has(item)) names.set(item, join(path, name));
    }
    return [...names].map(([item, name]) => [name, item]);
  }
}

const join = (prefix: string, name: string): string => (prefix ? `${prefix}.${name}` : name);

function expectInstance(
  owner: Module,
  name: string,
  found: unknown,
  type: abstract new (...args: never[]) => unknown,
  what: string,
): void {
  if (found instanceof type) return;
  throw new DeitError('bad-argument', `This is not ${what}.`, {
    where: `${owner.constructor.name}, "${name}"`,
    expected: what,
    found: String(found),
  });
}
