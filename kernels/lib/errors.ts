/**
 * The one catalogue of errors that a user can cause. It is on the lowest floor, since all floors throw them. `DeitError` is named
 * after the package, deit-webgpu, and not after the top floor: programs that use the package catch it by this name.
 * A code names the kind of mistake; an error adds where it happened, what was expected, what was found and how to fix it.
 */
export const errorCatalogue = {
  // engine
  'no-adapter': 'No usable WebGPU adapter was found on this machine.',
  'device-lost': 'The GPU device was lost or destroyed while work was pending.',
  'out-of-memory': 'The work needs more GPU memory than the budget or the device allows.',
  'gpu-validation': 'The GPU rejected a command that the engine recorded.',
  'engine-closed': 'The engine was used after close().',
  'limit-exceeded': 'A problem is larger than a limit of this device.',
  'feature-missing': 'The adapter lacks a feature that was asked for.',
  'shape-mismatch': 'The shapes of the operands do not fit the operator.',
  'dtype-mismatch': 'The operator does not take operands of this dtype.',
  'bad-argument': 'An argument is outside its range or of the wrong kind.',
  'no-gradient': 'An operator without a backward pass was used where a gradient is needed.',
  'tensor-expired': 'A tensor was used after the scope that made it had ended.',
  'tape-modified': 'A tensor saved for the backward pass was modified or let go of before backward ran.',
  'non-finite': 'A value is NaN or infinite where only finite values make sense.',
  // files
  'file-unreadable': 'A file is missing or cannot be read.',
  'file-unwritable': 'A file or folder cannot be written.',
  'file-corrupt': 'A file does not follow its format.',
  'state-mismatch': 'A checkpoint does not fit the model: tensors are missing, unexpected or misshapen.',
  'class-mismatch': 'Weights and data have other classes.',
  // several processes
  'no-mpi': 'The processes of a run cannot reach each other: no MPI library fits, or it belongs to another launcher.',
  'rank-failed': 'A process of a run failed or did not come, so that all of them end.',
  'rank-mismatch': 'The processes of a run do not agree on something that has to be the same on all.',
  // use
  'unknown-name': 'No model, option, recipe or operator has this name.',
  'bad-config': 'A recipe or option has a value that cannot be used.',
  'bad-data': 'A data set cannot be used as it is.',
} as const;

export type ErrorCode = keyof typeof errorCatalogue;

export interface ErrorDetails {
  /** Operator, file or option at which the mistake surfaced. */
  where?: string;
  expected?: string;
  found?: string;
  /** What the reader can do about it. */
  fix?: string;
  cause?: unknown;
}

/** An error that a user can cause and mend. `message` is complete: code, problem, place, expected, found, fix. */
export class DeitError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, problem: string, details: ErrorDetails = {}) {
    const lines = [`[${code}] ${problem}`];
    if (details.where) lines.push(`  at: ${details.where}`);
    if (details.expected) lines.push(`  expected: ${details.expected}`);
    if (details.found) lines.push(`  found: ${details.found}`);
    if (details.fix) lines.push(`  fix: ${details.fix}`);
    super(lines.join('\n'), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'DeitError';
    this.code = code;
    this.details = details;
  }
}

/** The candidate nearest to `name` by edit distance, for "did you mean". Undefined if nothing is near. */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 2)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, previous[j] + 1, current[j - 1] + 1));
    }
    previous = current;
  }
  return previous[b.length];
}
