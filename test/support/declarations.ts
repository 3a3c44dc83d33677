import { readFileSync, readdirSync } from 'node:fs';

/** An operator of test/cases/operators, as the tests read it; test/golden/operators.py has the meaning of all fields. */
export interface Declaration {
  /** A kind of values for the one operand, or the operands by name. */
  readonly inputs: string | Readonly<Record<string, string>>;
  /** Our name where it is not that of the declaration. */
  readonly call?: string;
  readonly arguments?: readonly string[];
  readonly named?: readonly string[];
  readonly list?: boolean;
  /** Whether absent operands are left out. */
  readonly variadic?: boolean;
  readonly pick?: string;
  readonly tolerance: {
    /** Ulp that the functions used may be off. */
    readonly ulps: number;
    /** Whether the output, and the gradients, subtract numbers near each other. */
    readonly cancels?: readonly [boolean, boolean];
    /** What is summed for one element; absent where an element depends on one of each operand. */
    readonly terms?: 'shrinking' | 'filter' | 'all';
  };
}

const folder = new URL('../cases/operators/', import.meta.url);

/** The declared operators by name. */
export const declarations: ReadonlyMap<string, Declaration> = new Map(
  readdirSync(folder).flatMap((file) =>
    Object.entries(JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Record<string, Declaration>),
  ),
);
