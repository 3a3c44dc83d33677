/** Classes are matched by name: what is expected here follows from the names alone. */
import { describe, expect, it } from 'vitest';
import { alignClasses, plainClasses } from '../../deit/weights/classes.ts';
import type { ClassPolicy, HeadClasses } from '../../deit/weights/classes.ts';

const ABC = ['cat', 'dog', 'horse'];
const align = (
  own: readonly string[] | HeadClasses,
  wanted: readonly string[],
  policy: ClassPolicy,
  count?: number,
) => {
  const head = 'names' in own ? own : plainClasses(own);
  return alignClasses({ head, count: count ?? head.names!.length, wanted, policy, where: 'w.safetensors' });
};

describe('the classes of a head', () => {
  it('in the same order are taken as they lie, without a word', () => {
    for (const policy of ['same', 'subset', 'any'] as const) {
      expect(align(ABC, ABC, policy)).toMatchObject({ rows: [0, 1, 2], names: ABC, notes: [] });
    }
    // A label list may have a name twice (two classes of ImageNet-1k are called crane).
    expect(align(['crane', 'jay', 'crane'], ['crane', 'jay', 'crane'], 'subset').rows).toEqual([0, 1, 2]);
  });

  it('in another order are found by name', () => {
    for (const policy of ['subset', 'any'] as const) {
      const { rows, notes } = align(ABC, ['dog', 'horse', 'cat'], policy);
      expect(rows).toEqual([1, 2, 0]);
      expect(notes).toEqual(['the weights have the classes in another order: matched by name']);
    }
    // Numbers as text and by size: 0, 1, 2, ..., 11 against 0, 1, 10, 11, 2, ...
    const numbers = Array.from({ length: 12 }, (_, i) => String(i));
    expect(align(numbers, [...numbers].sort(), 'subset').rows).toEqual([0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('may be more than are wanted, which is said', () => {
    for (const policy of ['subset', 'any'] as const) {
      const { rows, notes } = align(ABC, ['horse', 'cat'], policy);
      expect(rows).toEqual([2, 0]);
      expect(notes).toEqual(['of the 3 classes of the weights 2 are in the data, found by name: horse, cat']);
    }
  });

  it('may not be others: the unmatched names of both sides are told', () => {
    expect(() => align(ABC, ['cat', 'cattle', 'dog'], 'subset')).toThrow(
      /\[class-mismatch\][^]*w\.safetensors[^]*only in the data: cattle\n.*only in the weights: horse/,
    );
    expect(() => align(ABC, [...ABC, 'cow'], 'subset')).toThrow(/only in the data: cow/);
    expect(() => align(ABC, ['cat', 'dog', 'hors'], 'subset')).toThrow(/is "hors" meant to be "horse"\?/);
  });

  it('may be others where the head can begin anew, which is said', () => {
    const { rows, notes } = align(ABC, ['cat', 'cattle', 'dog'], 'any');
    expect(rows).toBeNull();
    expect(notes).toEqual([
      'the head is new: its classes were others (only in the data: cattle; only in the weights: horse)',
    ]);
    expect(align(ABC, [...ABC, 'cow'], 'any').rows).toBeNull();
  });

  it('of a run that goes on may not change in name or order', () => {
    expect(() => align(ABC, ['dog', 'cat', 'horse'], 'same')).toThrow(/dog where cat was, cat where dog was/);
    expect(() => align(ABC, ['cat', 'dog', 'pony'], 'same')).toThrow(
      /only in the data: pony\n.*only in the weights: horse/,
    );
    expect(() => align(ABC, ['Cat', 'dog', 'horse'], 'same')).toThrow(/Cat where cat was/);
    expect(() => align(ABC, ['cat', 'dog'], 'same')).toThrow(/only in the weights: horse/);
  });
});

describe('names that are not written the same way', () => {
  it('are the same class but for case, spaces and the bytes of an accent, which is said', () => {
    const { rows, notes } = align(['golden retriever', 'Maine Coon', 'épagneul'], ['Golden_Retriever', 'maine-coon', 'e\u0301pagneul'], 'subset'); // prettier-ignore
    expect(rows).toEqual([0, 1, 2]);
    expect(notes[0]).toMatch(
      /^classes taken for the same: Golden_Retriever for golden retriever, maine-coon for Maine Coon/,
    );
  });

  it('yield to those that are', () => {
    expect(align(['cat', 'Cat', 'dog'], ['Cat', 'cat', 'dog'], 'subset').rows).toEqual([1, 0, 2]);
    expect(() => align(['cat', 'dog', 'cow'], ['cat', 'Cat', 'dog'], 'subset')).toThrow(/only in the data: Cat/);
  });

  it('are refused where they could be several', () => {
    expect(() => align(['Cat', 'CAT', 'dog'], ['cat', 'dog'], 'subset')).toThrow(
      /of several classes of the weights: cat/,
    );
    expect(() => align(['crane', 'jay', 'crane'], ['jay', 'crane'], 'subset')).toThrow(/of several classes.*: crane/);
  });

  it('may be synonyms, the first of which is shown', () => {
    const head = {
      names: [
        ['tench', 'n01440764', 'tench, Tinca tinca'],
        ['jay', 'n01580077'],
      ],
    };
    expect(align(head, ['n01580077', 'n01440764'], 'subset')).toMatchObject({
      rows: [1, 0],
      notes: [
        'classes taken for the same: n01580077 for jay, n01440764 for tench',
        'the weights have the classes in another order: matched by name',
      ],
    });
    // Folders of Stanford Dogs and others bear both.
    expect(align(head, ['n01580077-jaybird'], 'subset').rows).toEqual([1]);
  });
});

describe('weights without class names', () => {
  const unnamed: HeadClasses = { names: null };
  it('are taken in the order of the data, which is said', () => {
    expect(align(unnamed, ABC, 'subset', 3)).toMatchObject({
      rows: [0, 1, 2],
      notes: ["the weights name no classes: their 3 are taken in the order of the data's (cat, dog, horse)"],
    });
  });
  it('of another number are refused, or their head is new', () => {
    expect(() => align(unnamed, ABC, 'subset', 5)).toThrow(/expected: 3 classes: cat, dog, horse[^]*found: 5/);
    expect(align(unnamed, ABC, 'any', 5)).toMatchObject({
      rows: null,
      notes: ['the head is new: the weights have 5 classes, the data 3'],
    });
  });
  it('whose number says which they are serve where all wanted names are among them, and are unnamed elsewhere', () => {
    const guess = { names: null, guess: { of: 'ImageNet-1k', names: ABC.map((name) => [name]) } };
    const { rows, notes } = align(guess, ['horse'], 'subset', 3);
    expect(rows).toEqual([2]);
    expect(notes[0]).toBe('the weights name no classes: their 3 are taken for those of ImageNet-1k');
    expect(align(guess, ['x', 'y', 'z'], 'subset', 3)).toMatchObject({
      rows: [0, 1, 2],
      notes: ["the weights name no classes: their 3 are taken in the order of the data's (x, y, z)"],
    });
  });
  it('that name more or fewer than they have are damaged', () => {
    expect(() => align(ABC, ABC, 'subset', 4)).toThrow(/\[file-corrupt\][^]*4 names[^]*found: 3/);
  });
});
