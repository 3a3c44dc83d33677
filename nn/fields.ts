import { DeitError, Tensor } from '../engine/index.ts';

/** What a module has registered, by name. */
export interface Registered<Part> {
  readonly modules: Map<string, Part>;
  readonly parameters: Map<string, Tensor>;
  readonly buffers: ReadonlyMap<string, Tensor>;
}

type Kind = 'modules' | 'parameters';

/**
 * Registers what was assigned to the fields of a module: modules, and leaf tensors that require a gradient. Fields are looked at
 * whenever the tree is walked, so that what is assigned later counts too, and what replaces something takes its name.
 */
export class FieldScan<Part extends object> {
  /** Names that were registered by assignment. */
  private readonly assigned: Readonly<Record<Kind, Set<string>>> = { modules: new Set(), parameters: new Set() };

  constructor(private readonly isPart: (value: unknown) => value is Part) {}

  /** Throws `bad-argument` where modules or parameters are in a container in which nothing would find them. */
  register(owner: object, registered: Registered<Part>): void {
    const { modules, parameters, buffers } = registered;
    const fields = new Map<string, unknown>(Object.entries(owner));
    this.forget('modules', modules, fields, (value) => this.isPart(value));
    this.forget('parameters', parameters, fields, (value) => value instanceof Tensor && isLeafParameter(value));
    const isKnown = (value: unknown): boolean =>
      [modules, parameters, buffers].some((own) => [...own.values()].some((existing) => existing === value));
    const isNew = (value: unknown): value is Part | Tensor =>
      (this.isPart(value) || (value instanceof Tensor && isLeafParameter(value))) && !isKnown(value);
    for (const [name, value] of fields) {
      if (!isNew(value)) expectNoneInside(owner, name, value, isNew);
      else if (value instanceof Tensor) {
        parameters.set(name, keptParameter(owner, name, value));
        this.assigned.parameters.add(name);
      } else {
        modules.set(name, value);
        this.assigned.modules.add(name);
      }
    }
  }

  /** Takes out what its field no longer holds. What stands there now takes its place, if it is of the kind. */
  private forget(
    kind: Kind,
    own: Map<string, unknown>,
    fields: ReadonlyMap<string, unknown>,
    isOfKind: (value: unknown) => boolean,
  ): void {
    for (const name of this.assigned[kind]) {
      const value = fields.get(name);
      if (value === own.get(name) || isOfKind(value)) continue;
      own.delete(name);
      this.assigned[kind].delete(name);
    }
  }
}

const isLeafParameter = (tensor: Tensor): boolean => tensor.requiresGrad && tensor.node === null;

function keptParameter(owner: object, name: string, tensor: Tensor): Tensor {
  if (!tensor.storage.expired) return tensor.keep('parameter');
  throw new DeitError('tensor-expired', 'A parameter was released with the scope that made it.', {
    where: `${owner.constructor.name}.${name}`,
    found: tensor.toString(),
    fix: 'build the model outside of scopes, or keep() the tensor',
  });
}

function expectNoneInside(owner: object, name: string, value: unknown, isNew: (value: unknown) => boolean): void {
  if (!contents(value).some(isNew)) return;
  throw new DeitError('bad-argument', 'A container holds modules or parameters that nothing would find there.', {
    where: `${owner.constructor.name}.${name}`,
    expected: 'a Module, ModuleList or Sequential, or a tensor that requires a gradient',
    found: Array.isArray(value) ? 'an array' : 'an object',
    fix: `this.${name} = new ModuleList(...); parameters one by one, with this.parameter("${name}.0", tensor)`,
  });
}

/** What lies in an array, Map, Set or plain object; of anything else nothing. */
function contents(value: unknown): unknown[] {
  if (Array.isArray(value) || value instanceof Set) return [...value];
  if (value instanceof Map) return [...value.values()];
  const isPlain = typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
  return isPlain ? Object.values(value) : [];
}
