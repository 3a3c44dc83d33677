/**
 * Random sequences of read, scope, record, replay, free and mistakes, against a model that says what each must give: a value, or
 * the code of an error. All run on one engine, so that no mistake of one sequence may harm the next.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DeitError, add } from '../../engine/node.ts';
import type { ErrorCode, Recording, Tensor } from '../../engine/node.ts';
import { accumulate } from '../../engine/gradient-table.ts';
import { brokenKernel } from '../support/broken-kernel.ts';
import { useEngine } from '../support/engine.ts';

const MiB = 2 ** 20;
// Debug mode submits every dispatch by itself, which takes minutes for so many.
const engine = useEngine({ memoryBudget: 4 * MiB, debug: false });

const breakIt = (x: Tensor, seed: number): void => engine().run('broken', brokenKernel, { seed }, { x });

/** An error that came up after its call had returned, and whether anybody has been told. */
interface Failure {
  /** Which broken kernel it was. */
  readonly seed: number;
  told: boolean;
}
/** A tensor of one element, and what the model knows of it. */
interface Cell {
  readonly tensor: Tensor;
  /** Null where nothing has ever been written. */
  value: number | null;
  freed: boolean;
  failure: Failure | null;
}
interface Recorded {
  readonly recording: Recording;
  readonly target: Cell;
  readonly source: Cell;
  readonly brokenSeed: number | null;
}

class Model {
  readonly cells: Cell[] = [];
  readonly recordings: Recorded[] = [];
  /** Failures that nobody has been told of, the first first. */
  readonly untold: Failure[] = [];

  /** Why a command that reads these fails, or null. */
  causeOf(...cells: readonly Cell[]): Failure | null {
    return cells.find((cell) => cell.failure && (!cell.failure.told || cell.value === null))?.failure ?? null;
  }

  /** Work does not run, because of a broken kernel or an earlier failure: what it would have written is marked. */
  fail(seed: number, ...written: readonly Cell[]): Failure {
    let failure = this.untold.find((one) => one.seed === seed);
    if (!failure) this.untold.push((failure = { seed, told: false }));
    for (const cell of written) cell.failure = failure;
    return failure;
  }

  tell(failure: Failure): void {
    failure.told = true;
    this.untold.splice(this.untold.indexOf(failure), 1);
  }

  /** target += source, as one piece of work with a broken kernel or without. */
  addTo(target: Cell, source: Cell, brokenSeed: number | null = null): void {
    const seed = this.causeOf(target, source)?.seed ?? brokenSeed;
    if (seed !== null) {
      this.fail(seed, target);
      return;
    }
    target.value = target.value! + source.value!;
    target.failure = null;
  }
}

type Outcome = ErrorCode | number | 'stop';

/** What `work` gives or throws, and its promise in the end. */
const outcomeOf = async (work: () => unknown): Promise<Outcome> => {
  try {
    const value = await work();
    return typeof value === 'number' ? value : 0;
  } catch (error) {
    if (error instanceof DeitError) return error.code;
    if (error instanceof Error && error.message === 'stop') return 'stop';
    throw error;
  }
};

const numbers = fc.nat(9);
const operation = fc.record({
  kind: fc.constantFrom(
    ...([
      'make',
      'write',
      'add',
      'addInScope',
      'read',
      'readInScope',
      'throwInScope',
      'throwInside',
      'hungry',
    ] as const),
    ...(['hungryInScope', 'record', 'recordThrows', 'replay', 'free', 'release', 'break', 'breakInScope'] as const),
    ...(['breakNew', 'recordBroken', 'idle', 'wait'] as const),
  ),
  a: numbers,
  b: numbers,
});
type Operation = typeof operation extends fc.Arbitrary<infer Value> ? Value : never;

/** Does one operation on both; `pending` takes what comes later. */
async function perform(
  { kind, a, b }: Operation,
  model: Model,
  expectLater: (found: Promise<Outcome>, expected: Outcome, what: string) => void,
) {
  const own = engine();
  const pick = (n: number): Cell => model.cells[n % model.cells.length];
  const [x, y] = [pick(a), pick(b)];
  const isDead = x.freed || y.freed;
  const now = async (work: () => void, expected: Outcome): Promise<void> =>
    expect(await outcomeOf(work), kind).toBe(expected);
  /** A read: from what it gives, told at once or later. */
  const reading = (cell: Cell, read: () => Promise<number>): void => {
    let expected: Outcome;
    if (cell.freed) expected = 'tensor-expired';
    else {
      const cause = model.causeOf(cell);
      expected = cause ? 'gpu-validation' : cell.value!;
      if (cause) model.tell(model.fail(cause.seed));
    }
    const found = outcomeOf(read);
    expectLater(found, expected, kind);
  };
  switch (kind) {
    case 'make':
      model.cells.push({ tensor: own.tensor([a]).keep(), value: a, freed: false, failure: null });
      return;
    case 'write':
      await now(() => x.tensor.write([b]), x.freed ? 'tensor-expired' : 0);
      if (!x.freed) Object.assign(x, { value: b, failure: null });
      return;
    case 'add':
    case 'addInScope': {
      const work = (): void => accumulate(x.tensor, y.tensor);
      const expected = isDead ? 'tensor-expired' : x === y ? 'bad-argument' : 0;
      await now(() => (kind === 'add' ? work() : own.scope(work)), expected);
      if (expected === 0) model.addTo(x, y);
      return;
    }
    case 'read':
      reading(x, () => x.tensor.item());
      return;
    case 'readInScope':
      // The sum is transient: it lives in the scope alone.
      if (isDead) await now(() => void own.scope(() => add(x.tensor, y.tensor).item()), 'tensor-expired');
      else {
        const cause = model.causeOf(x, y);
        if (cause) model.tell(model.fail(cause.seed));
        expectLater(
          outcomeOf(() => own.scope(() => add(x.tensor, y.tensor).item())),
          cause ? 'gpu-validation' : x.value! + y.value!,
          kind,
        );
      }
      return;
    case 'throwInScope':
    case 'throwInside': {
      const spoil = (): void => {
        if (!x.freed) {
          x.tensor.write([99]);
          void x.tensor.item();
          void Promise.all([x.tensor.read(), own.tensor([1]).read()]);
        }
        own.free(y.tensor);
        own.zeros([4]).keep();
        throw new Error('stop');
      };
      if (kind === 'throwInScope') await now(() => own.scope(spoil), 'stop');
      else {
        await now(
          () =>
            own.scope(() => {
              expect(() => own.scope(spoil)).toThrow('stop');
            }),
          0,
        );
      }
      return;
    }
    case 'hungry':
      await now(() => void own.zeros([2 * MiB]), 'out-of-memory');
      return;
    case 'hungryInScope':
      await now(
        () =>
          own.scope(() => {
            if (!x.freed) x.tensor.write([99]);
            return add(own.zeros([2 * MiB]), 1).item.length;
          }),
        'out-of-memory',
      );
      return;
    case 'record':
    case 'recordBroken': {
      const brokenSeed = kind === 'recordBroken' ? b : null;
      let recording: Recording | null = null;
      const work = (): void => {
        accumulate(x.tensor, y.tensor);
        if (brokenSeed !== null) breakIt(x.tensor, brokenSeed);
      };
      const expected = isDead ? 'tensor-expired' : x === y ? 'bad-argument' : 0;
      await now(() => void (recording = own.record(work)), expected);
      if (!recording) return;
      model.recordings.push({ recording, target: x, source: y, brokenSeed });
      model.addTo(x, y, brokenSeed);
      return;
    }
    case 'recordThrows':
      await now(() => {
        own.record(() => {
          if (!isDead && x !== y) accumulate(x.tensor, y.tensor);
          throw new Error('stop');
        });
      }, 'stop');
      return;
    case 'replay': {
      const recorded = model.recordings[a % Math.max(1, model.recordings.length)];
      if (!recorded) return;
      const { recording, target, source, brokenSeed } = recorded;
      const expected = target.freed || source.freed ? 'tensor-expired' : 0;
      await now(() => own.replay(recording), expected);
      if (expected === 0) model.addTo(target, source, brokenSeed);
      return;
    }
    case 'release': {
      const [recorded] = model.recordings.splice(0, 1);
      if (!recorded) return;
      recorded.recording.release();
      await now(() => own.replay(recorded.recording), 'bad-argument');
      return;
    }
    case 'free':
      own.free(x.tensor);
      x.freed = true;
      return;
    case 'break':
      await now(() => breakIt(x.tensor, b), x.freed ? 'tensor-expired' : 0);
      if (!x.freed) model.fail(b, x);
      return;
    case 'breakInScope': {
      if (isDead || x === y) return;
      // With a read that is told of it: nothing of the scope has run.
      const found = outcomeOf(() =>
        own.scope(() => {
          accumulate(x.tensor, y.tensor);
          breakIt(y.tensor, b);
          return y.tensor.item();
        }),
      );
      model.tell(model.fail(model.causeOf(x, y)?.seed ?? b, x, y));
      expectLater(found, 'gpu-validation', kind);
      return;
    }
    case 'breakNew': {
      const cell: Cell = { tensor: own.empty([1]).keep(), value: null, freed: false, failure: null };
      breakIt(cell.tensor, b);
      model.cells.push(cell);
      model.fail(b, cell);
      return;
    }
    case 'idle': {
      const [failure] = model.untold;
      const found = await outcomeOf(() => own.idle());
      expect(found, kind).toBe(failure ? 'gpu-validation' : 0);
      if (failure) model.tell(failure);
      return;
    }
    case 'wait':
      await new Promise((resolve) => void setTimeout(resolve, a));
  }
}

describe('random sequences', () => {
  it('give what the model says, whatever went wrong before', async () => {
    const property = fc.asyncProperty(fc.array(operation, { minLength: 4, maxLength: 30 }), async (operations) => {
      const own = engine();
      const model = new Model();
      for (const value of [1, 2]) {
        model.cells.push({ tensor: own.tensor([value]).keep(), value, freed: false, failure: null });
      }
      const later: Promise<void>[] = [];
      for (const one of operations) {
        await perform(one, model, (found, expected, what) => {
          later.push(found.then((outcome) => expect(outcome, what).toBe(expected)));
          later.at(-1)!.catch(() => undefined);
        });
      }
      await Promise.all(later);
      for (let n = model.untold.length; n > 0; n--) {
        expect(await outcomeOf(() => own.idle())).toBe('gpu-validation');
      }
      await own.idle();
      for (const { recording } of model.recordings) recording.release();
      for (const { tensor } of model.cells) own.free(tensor);
      own.flush();
    });
    await fc.assert(property, { numRuns: 300, seed: 20_260_706, endOnFailure: false });
    // What every sequence gave back: nothing is held by errors.
    expect(engine().memory().keptBytes).toBeLessThan(64 * 1024);
  }, 120_000);
});
