import { DeitError } from '../../engine/index.ts';
import { styled } from './style.ts';

/** A user's mistake gets its message; anything else is ours and gets its stack. */
export function describeError(error: unknown): string {
  const text = error instanceof DeitError ? error.message : String((error as Error).stack ?? error);
  return text.replace(/^.*/, (first) => styled('red', first));
}
