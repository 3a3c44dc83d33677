import type { Storage } from './gpu/storage.ts';
import type { Tensor } from './tensor.ts';

interface Scope {
  readonly storages: Storage[];
  readonly leaves: Tensor[];
}

/** The scopes under way, the outermost first, and what each of them lets go of at its end. */
export class ScopeStack {
  private readonly scopes: Scope[] = [];

  get depth(): number {
    return this.scopes.length;
  }

  begin(): void {
    this.scopes.push({ storages: [], leaves: [] });
  }

  /** Lets go of all that the innermost scope made and nobody kept. */
  end(): void {
    const { storages, leaves } = this.scopes.pop()!;
    for (const storage of storages) if (!storage.kept) storage.expired = true;
    for (const leaf of leaves) if (leaf.grad?.storage.expired) leaf.grad = null;
  }

  /** Has the innermost scope, if there is one, let go of `storage`. */
  own(storage: Storage): void {
    this.scopes.at(-1)?.storages.push(storage);
  }

  /** Has the innermost scope, if there is one, drop the reference to the leaf's gradient if that ends with it. */
  forgetGradAtEnd(leaf: Tensor): void {
    this.scopes.at(-1)?.leaves.push(leaf);
  }
}
