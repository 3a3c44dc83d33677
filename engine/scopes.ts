import { DeitError } from '../kernels/lib/errors.ts';
import type { Storage } from './gpu/storage.ts';
import type { Tensor } from './tensor.ts';

interface Scope {
  readonly storages: Storage[];
  readonly leaves: Tensor[];
}

/** The scopes under way, the outermost first, and what each of them lets go of at its end. */
export class ScopeStack {
  private readonly scopes: Scope[] = [];
  /** What takes back the changes on the host: a list for each piece of work that is done wholly or not at all. */
  private readonly journals: (() => void)[][] = [];

  get depth(): number {
    return this.scopes.length;
  }

  /** Whether a piece of work is under way that is done wholly or not at all: a scope, or a part of one. */
  get isUndoable(): boolean {
    return this.journals.length > 0;
  }

  begin(): void {
    this.scopes.push({ storages: [], leaves: [] });
    this.beginUndoable();
  }

  /** Lets go of all that the innermost scope made and nobody kept. */
  end(): void {
    this.endUndoable();
    const { storages, leaves } = this.scopes.pop()!;
    // What was kept is lost all the same if the outer scope throws.
    const outer = this.scopes.at(-1)?.storages;
    for (const storage of storages) {
      if (storage.kept) outer?.push(storage);
      else storage.expired = 'ended';
    }
    for (const leaf of leaves) if (leaf.grad?.storage.expired) leaf.grad = null;
  }

  /** Ends the innermost scope as if it had never been: nothing that it recorded has run. */
  fail(): void {
    for (const storage of this.scopes.pop()!.storages) storage.expired = 'failed';
    this.undo();
  }

  beginUndoable(): void {
    this.journals.push([]);
  }

  /** All went well: from here on the work around it answers for the changes. */
  endUndoable(): void {
    const journal = this.journals.pop()!;
    const outer = this.journals.at(-1);
    if (outer) for (const change of journal) outer.push(change);
  }

  /** Takes the changes back, the last one first. */
  undo(): void {
    for (const takeBack of this.journals.pop()!.reverse()) takeBack();
  }

  /** Has the innermost scope, if there is one, let go of `storage`. */
  own(storage: Storage): void {
    this.scopes.at(-1)?.storages.push(storage);
  }

  /** Has the innermost scope, if there is one, drop the reference to the leaf's gradient if that ends with it. */
  forgetGradAtEnd(leaf: Tensor): void {
    this.scopes.at(-1)?.leaves.push(leaf);
  }

  /** Has `takeBack` called if the work under way fails, where it is done wholly or not at all. */
  undoIfFailed(takeBack: () => void): void {
    this.journals.at(-1)?.push(takeBack);
  }
}

/** Throws `bad-argument` for an async function where a synchronous one is called. */
export function expectSynchronous(work: unknown, where: string): void {
  if (Object.prototype.toString.call(work) !== '[object AsyncFunction]') return;
  throw new DeitError('bad-argument', `${where}() takes a synchronous function.`, {
    where,
    expected: 'a function without await: what it makes is released when it returns',
    found: 'an async function',
    fix: 'read() inside, return the promise, and await that outside',
  });
}
