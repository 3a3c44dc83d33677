/**
 * Class names of a head against those that are wanted of it: the one rule by which heads are loaded, labels are understood and
 * runs are resumed. Classes are matched by name, never by position where both sides have names. Browser-safe.
 */
import { DeitError, nearestName } from '../../engine/index.ts';

/** The classes of a head as its file tells them. */
export interface HeadClasses {
  /** Names of each class, in order of the logits, the one that is shown first; null where the file has none. */
  readonly names: readonly (readonly string[])[] | null;
  /**
   * Of a head without names: what its classes may be if there are as many, as of a well-known data set. Taken only where all
   * wanted names are among them.
   */
  readonly guess?: { readonly of: string; readonly names: readonly (readonly string[])[] };
}

/**
 * What is accepted: `same` names in the same order; a `subset` of the head's classes, in any order; or `any`, where a head
 * for other classes begins anew.
 */
export type ClassPolicy = 'same' | 'subset' | 'any';

export interface ClassAlignment {
  /** For each wanted class the class of the head; null: none of the head's rows is used. */
  readonly rows: readonly number[] | null;
  /** Name to show for each class of the head. */
  readonly names: readonly string[];
  /** What people should know of it, one sentence each; empty where names and order are the same. */
  readonly notes: readonly string[];
}

/** What to align, and how to speak of it. */
export interface ClassRequest {
  readonly head: HeadClasses;
  /** Rows of the head. */
  readonly count: number;
  /** Class names of the data. */
  readonly wanted: readonly string[];
  readonly policy: ClassPolicy;
  /** File or model that the head is of, for errors. */
  readonly where?: string;
}

/** Classes without a second name. */
export const plainClasses = (names: readonly string[]): HeadClasses => ({ names: names.map((name) => [name]) });

/** Finds the wanted classes in a head. Throws `class-mismatch` with the unmatched names of both sides where the policy forbids. */
export function alignClasses({ head, count, wanted, policy, where }: ClassRequest): ClassAlignment {
  const guess = !head.names && head.guess?.names.length === count ? head.guess : null;
  if (head.names && head.names.length !== count) {
    throw new DeitError('file-corrupt', 'The weights name another number of classes than they have.', {
      where,
      expected: `${count} names, one for each row of the head`,
      found: `${head.names.length}`,
    });
  }
  const synonyms = head.names ?? guess?.names;
  const match = synonyms && matchClasses(wanted, synonyms);
  if (!match || (guess && !isWhole(match))) return byPosition({ head, count, wanted, policy, where });
  const { rows, alike } = match;
  const names = synonyms.map(([name]) => name);
  const isSame = rows.length === count && rows.every((row, i) => row === i);
  if (policy === 'same' && (!isSame || alike.length > 0)) throw changed(wanted, synonyms, match, where);
  if (!isWhole(match)) {
    if (policy !== 'any') throw mismatch(match, where);
    return { rows: null, names, notes: [`the head is new: its classes were others (${sides(match, 5).join('; ')})`] };
  }
  const notes: string[] = [];
  if (guess) notes.push(`the weights name no classes: their ${count} are taken for those of ${guess.of}`);
  if (alike.length > 0) {
    notes.push(`classes taken for the same: ${listed(alike.map(([name, own]) => `${name} for ${own}`))}`);
  }
  if (rows.length < count) {
    notes.push(
      `of the ${count} classes of the weights ${rows.length} are in the data, found by name: ${listed(wanted)}`,
    );
  } else if (!isSame) notes.push('the weights have the classes in another order: matched by name');
  return { rows, names, notes };
}

/** Without names on one side there is only the order. */
function byPosition({ count, wanted, policy, where }: ClassRequest): ClassAlignment {
  if (wanted.length === count) {
    const note = `the weights name no classes: their ${count} are taken in the order of the data's (${listed(wanted)})`;
    return { rows: wanted.map((_, i) => i), names: wanted, notes: [note] };
  }
  if (policy === 'any') {
    const names = numbered(count);
    return {
      rows: null,
      names,
      notes: [`the head is new: the weights have ${count} classes, the data ${wanted.length}`],
    };
  }
  throw new DeitError(
    'class-mismatch',
    'The weights have another number of classes than the data, and do not name them.',
    {
      where,
      expected: `${wanted.length} classes: ${listed(wanted)}`,
      found: `${count}`,
      fix: 'name them with `deit export --class-names FILE`, or fine-tune the model on this data',
    },
  );
}

/** Names for classes that have none. */
export const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => `class ${i}`);

interface Match {
  /** For each wanted name the class of the head; -1 where there is none. */
  readonly rows: number[];
  /** Wanted names that the head lacks, that several classes answer to, and names of the head that nobody wants. */
  readonly missing: string[];
  readonly ambiguous: string[];
  readonly unused: string[];
  /** Pairs of names that are the same but for case, spaces or synonym. */
  readonly alike: [wanted: string, own: string][];
}

const isWhole = ({ missing, ambiguous }: Match): boolean => missing.length + ambiguous.length === 0;

function matchClasses(wanted: readonly string[], own: readonly (readonly string[])[]): Match {
  const rows = wanted.map(() => -1);
  const alike: Match['alike'] = [];
  const ambiguous: string[] = [];
  if (wanted.length === own.length && wanted.every((name, i) => own[i][0] === name)) {
    // Also where a name stands for several classes.
    return { rows: rows.map((_, i) => i), missing: [], ambiguous, unused: [], alike };
  }
  const taken = new Set<number>();
  const take = (i: number, found: ReadonlySet<number>): boolean => {
    const free = [...found].filter((row) => !taken.has(row));
    if (free.length > 1) ambiguous.push(wanted[i]);
    if (free.length !== 1) return false;
    [rows[i]] = free;
    taken.add(free[0]);
    return true;
  };
  // First what is written the same; then, among what is left, what differs in case, spaces or synonym alone.
  const exact = index(
    own.map(([name]) => [name]),
    (name) => name,
  );
  wanted.forEach((name, i) => take(i, exact.get(name) ?? new Set()));
  const loose = index(own, likeness);
  wanted.forEach((name, i) => {
    if (rows[i] < 0 && !ambiguous.includes(name) && take(i, loose.get(likeness(name)) ?? new Set())) {
      alike.push([name, own[rows[i]][0]]);
    }
  });
  return {
    rows,
    ambiguous,
    alike,
    missing: wanted.filter((name, i) => rows[i] < 0 && !ambiguous.includes(name)),
    unused: own.flatMap(([name], row) => (taken.has(row) ? [] : [name])),
  };
}

function index(classes: readonly (readonly string[])[], key: (name: string) => string): Map<string, Set<number>> {
  const found = new Map<string, Set<number>>();
  classes.forEach((names, row) => {
    for (const name of names) found.set(key(name), (found.get(key(name)) ?? new Set()).add(row));
  });
  return found;
}

/**
 * What two spellings of one name have in common: `Golden_Retriever` and `golden retriever`; composed and decomposed accents. A
 * WordNet id in front stands for the whole, as in the folders of data sets cut from ImageNet (`n02085620-Chihuahua`).
 */
export function likeness(name: string): string {
  const words = name
    .normalize('NFC')
    .toLowerCase()
    .replaceAll(/[\s_-]+/g, ' ')
    .trim();
  return /^n\d{8}(?= )/.exec(words)?.[0] ?? words;
}

function mismatch(match: Match, where: string | undefined): DeitError {
  const near = match.missing.length > 0 ? nearestName(match.missing[0], match.unused) : undefined;
  const isAmbiguous = match.missing.length === 0 && match.ambiguous.length > 0;
  return new DeitError('class-mismatch', 'The classes of the data are not those of the weights.', {
    where,
    expected: 'all or some of the classes that the weights have, by name',
    found: sides(match).join('\n    '),
    fix: near
      ? `is "${match.missing[0]}" meant to be "${near}"?`
      : isAmbiguous
        ? `"${match.ambiguous[0]}" is the name of several classes: name its folder by what tells them apart, for ImageNet by WordNet ids`
        : 'name the classes of the data as the weights do, or fine-tune the model on this data',
  });
}

/** The error for classes that are to be what they were. */
function changed(
  wanted: readonly string[],
  own: readonly (readonly string[])[],
  match: Match,
  where: string | undefined,
): DeitError {
  const before = own.map(([name]) => name);
  const moved = wanted.flatMap((name, i) => (name === before[i] ? [] : [`${name} where ${before[i]} was`]));
  const unmatched = sides(match);
  return new DeitError('class-mismatch', 'The classes of the data have changed.', {
    where,
    expected: `as before: ${listed(before)}`,
    found: (unmatched.length > 0 ? unmatched : [listed(moved)]).join('\n    '),
    fix: 'give the classes their former names, or begin a new run',
  });
}

/** The unmatched names of both sides. */
function sides({ missing, ambiguous, unused }: Match, most?: number): string[] {
  return [
    ['only in the data', missing] as const,
    ['only in the weights', unused] as const,
    ['in the data, and of several classes of the weights', ambiguous] as const,
  ].flatMap(([what, names]) => (names.length > 0 ? [`${what}: ${listed(names, most)}`] : []));
}

/** Names for people: the first ones, and how many more. */
function listed(names: readonly string[], most = 20): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}
