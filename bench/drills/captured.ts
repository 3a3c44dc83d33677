/** Node only. What work in this process writes to the standard streams. */

export interface Written {
  readonly out: string;
  readonly err: string;
}

/** Does `work` and returns, beside its result, what was written meanwhile instead of writing it. */
export async function captured<Result>(work: () => Promise<Result>): Promise<Written & { readonly result: Result }> {
  const texts = { stdout: '', stderr: '' };
  const restores = (['stdout', 'stderr'] as const).map((name) => {
    const stream = process[name];
    const write = stream.write.bind(stream);
    stream.write = (chunk: string | Uint8Array): boolean => {
      texts[name] += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString();
      return true;
    };
    return () => void (stream.write = write);
  });
  try {
    const result = await work();
    return { out: texts.stdout, err: texts.stderr, result };
  } finally {
    for (const restore of restores) restore();
  }
}
