/**
 * What native code writes to standard error past Node. Dawn has no switch for two lines that it prints whenever it looks for
 * adapters on Mesa's lavapipe, about limits that this engine does not use.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const STDERR = 2;

/** "Warning: maxDynamicUniformBuffersPerPipelineLayout artificially reduced from 1000000 to 16 to fit dynamic offset allocation limit." */
const NOISE =
  /^Warning: maxDynamic(Uniform|Storage)BuffersPerPipelineLayout artificially reduced from \d+ to \d+ to fit dynamic offset allocation limit\.\n/gm;

/** Text without Dawn's two lines; all else stays. */
export const withoutNoise = (text: string): string => text.replaceAll(NOISE, '');

interface Descriptors {
  readonly dup: (descriptor: number) => number;
  readonly dup2: (from: number, to: number) => number;
  /** Deno's closeSync refuses what it has not opened itself. */
  readonly close: (descriptor: number) => number;
}

/** The C library's `dup`, `dup2` and `close` through the optional package koffi; null without it, or where Dawn does not print the lines. */
async function descriptors(): Promise<Descriptors | null> {
  if (process.platform !== 'linux') return null;
  try {
    const { default: koffi } = await import('koffi');
    const library = koffi.load(null);
    const dup = library.func('int dup(int)') as Descriptors['dup'];
    const close = library.func('int close(int)') as Descriptors['close'];
    return { dup, dup2: library.func('int dup2(int, int)') as Descriptors['dup2'], close };
  } catch {
    return null;
  }
}

let found: Promise<Descriptors | null> | undefined;

/**
 * Returns a function that runs `work`, which is synchronous, with standard error led into a file and then passed on without
 * Dawn's two lines. Nothing else can write meanwhile but native threads, whose lines are passed on too.
 */
export async function stderrFilter(): Promise<<Result>(work: () => Result) => Result> {
  const library = await (found ??= descriptors());
  return (work) => (library ? filtered(library, work) : work());
}

function filtered<Result>({ dup, dup2, close }: Descriptors, work: () => Result): Result {
  const file = scratchFile();
  const original = file ? dup(STDERR) : -1;
  if (!file || original < 0) return work();
  dup2(file.descriptor, STDERR);
  try {
    return work();
  } finally {
    dup2(original, STDERR);
    close(original);
    const rest = withoutNoise(file.take());
    if (rest) process.stderr.write(rest);
  }
}

/** A file whose content is taken once; null where none can be had: the two lines are no reason to fail. */
function scratchFile(): { descriptor: number; take(): string } | null {
  try {
    const folder = mkdtempSync(join(tmpdir(), 'deit-stderr-'));
    const path = join(folder, 'stderr');
    const descriptor = openSync(path, 'w');
    const take = (): string => {
      closeSync(descriptor);
      const text = readFileSync(path, 'utf8');
      rmSync(folder, { recursive: true });
      return text;
    };
    return { descriptor, take };
  } catch {
    return null;
  }
}
