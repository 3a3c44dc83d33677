import { DeitError } from '../kernels/lib/errors.ts';
import { countPoison } from '../kernels/non-finite/index.ts';
import type { Tensor, TensorEngine } from './tensor.ts';

/** Results that can be checked between two looks at the counts. */
const MOST = 512;

/**
 * Debug mode fills memory with a bit pattern that no arithmetic makes. Here every result of an operator and every gradient
 * that its backward pass writes is searched for it on the GPU: where it turns up, a kernel left elements unwritten, or
 * read what nobody had written or what was freed. Not in steps that are recorded for replay: nothing can be read in them.
 */
export class OutputChecks {
  private readonly counts: Tensor;
  private readonly zeros: Tensor;
  private checked: string[] = [];
  private paused = false;
  /** Resolves when all counts that were asked for have been looked at. */
  looked: Promise<void> = Promise.resolve();

  constructor(
    private readonly engine: TensorEngine,
    private readonly onError: (error: DeitError) => void,
  ) {
    this.counts = engine.tensor(new Uint32Array(2 * MOST), [2 * MOST], 'u32').keep('engine');
    this.zeros = engine.tensor(new Uint32Array(2 * MOST), [2 * MOST], 'u32').keep('engine');
  }

  /** `what` names the operator. Must be called once its kernels have been recorded. */
  check(what: string, results: readonly (Tensor | null)[]): void {
    if (this.paused) return;
    for (const x of results) {
      if (!x || x.size === 0 || (x.dtype !== 'f32' && x.dtype !== 'f16')) continue;
      if (this.checked.length === MOST) this.collect();
      const problem = { n: x.size, k: this.checked.length, f16: x.dtype === 'f16' };
      this.checked.push(`${what}: ${x.toString()}${this.engine.path && ` in ${this.engine.path}`}`);
      this.engine.run('checkOutputs', countPoison, problem, { x, found: this.counts });
    }
  }

  /** Runs `work` unchecked: nothing can be read back in a recorded step. */
  without<Result>(work: () => Result): Result {
    const before = this.paused;
    this.paused = true;
    try {
      return work();
    } finally {
      this.paused = before;
    }
  }

  /** Records that the counts are read back and begun anew, if anything was checked. */
  collect(): void {
    const { checked } = this;
    if (checked.length === 0) return;
    this.checked = [];
    const looked = this.engine.peek(this.counts).then(
      (content) => {
        const counts = new Uint32Array(content);
        const at = checked.findIndex((_, k) => counts[2 * k] > 0);
        if (at < 0) return;
        this.onError(
          new DeitError('gpu-validation', 'A result contains memory that nothing has written.', {
            where: checked[at],
            found: `${counts[2 * at]} elements, the first of them number ${0xffffffff - counts[2 * at + 1]}`,
            fix: 'a kernel must write every element of its outputs, and read only what was written',
          }),
        );
      },
      // The list did not run; whoever waits for its results is told.
      () => undefined,
    );
    this.looked = Promise.all([this.looked, looked]).then(() => undefined);
    this.engine.copy(this.zeros, this.counts);
  }
}
