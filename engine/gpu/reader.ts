/** Who waits for the content of a tensor. */
export interface Reader {
  /** The engine itself, which tells nobody. */
  readonly isOwn: boolean;
  resolve(content: ArrayBuffer): void;
  /** `quietly`: it is no unhandled rejection if nobody listens. */
  reject(reason: unknown, quietly?: boolean): void;
  /** For a read whose scope has thrown: rejects when somebody asks for the promise after all. */
  abandon(reason: unknown): void;
}

/**
 * A promise of what `convert` makes of a content. Node ends a process in which a promise is rejected that nobody listens to, and
 * where a scope throws nobody can listen: its caller never had the promise, nor what was made of it (by `Promise.all`, say). So
 * an abandoned one stays pending until somebody asks for it, by `await`, `then` or `Promise.all`: all of these look up
 * `constructor`, and nothing else does.
 */
export function readPromise<Content>(
  convert: (content: ArrayBuffer) => Content,
  isOwn = false,
): { promise: Promise<Content>; reader: Reader } {
  let resolve!: (content: Content) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<Content>((resolved, rejected) => {
    resolve = resolved;
    reject = rejected;
  });
  const reader: Reader = {
    isOwn,
    resolve: (content) => resolve(convert(content)),
    reject: (reason, quietly = false) => {
      if (quietly) promise.catch(() => undefined);
      reject(reason);
    },
    abandon: (reason) => {
      const get = (): PromiseConstructor => {
        reject(reason);
        return Promise;
      };
      Reflect.defineProperty(promise, 'constructor', { get });
    },
  };
  return { promise, reader };
}
