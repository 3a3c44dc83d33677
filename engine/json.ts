import { DeitError } from '../kernels/lib/errors.ts';

/** JSON with objects as maps: a key such as `__proto__` is a key like any other. */
export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject;
export type JsonObject = Map<string, JsonValue>;

export interface JsonOptions {
  /** Objects and arrays nest at most this deep. */
  maxDepth?: number;
  /** Refuse numbers with a fraction or an exponent. */
  integersOnly?: boolean;
}

/**
 * Parses JSON from files that nobody vouches for. Unlike `JSON.parse` it refuses duplicate keys, deep nesting, lone
 * surrogates, and bytes that are not UTF-8. Throws `file-corrupt`; `where` names the file.
 */
export function parseStrictJson(source: string | Uint8Array, where: string, options: JsonOptions = {}): JsonValue {
  return new Parser(typeof source === 'string' ? source : decodeUtf8(source, where), where, options).document();
}

function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new DeitError('file-corrupt', 'The text is not valid UTF-8.', { where, cause });
  }
}

const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;
const LITERAL = /true|false|null/y;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SPACE_CODE = 0x20;
class Parser {
  private at = 0;
  private depth = 0;

  constructor(
    private readonly text: string,
    private readonly where: string,
    private readonly options: JsonOptions,
  ) {}

  document(): JsonValue {
    const value = this.value();
    if (this.peek() !== undefined) throw this.unexpected('the end of the text');
    return value;
  }

  private value(): JsonValue {
    const next = this.peek();
    if (next === '{') return this.nested(() => this.object());
    if (next === '[') return this.nested(() => this.array());
    if (next === '"') return this.string();
    const literal = this.match(LITERAL);
    if (literal) return literal[0] === 'null' ? null : literal[0] === 'true';
    const number = this.match(NUMBER);
    if (!number) throw this.unexpected('a value');
    if (this.options.integersOnly && (number[1] || number[2])) {
      throw new DeitError('file-corrupt', 'A number of the JSON text is not whole.', {
        where: this.where,
        found: number[0].slice(0, 40),
      });
    }
    return Number(number[0]);
  }

  private object(): JsonObject {
    const object: JsonObject = new Map();
    this.expect('{');
    if (this.takes('}')) return object;
    for (;;) {
      if (this.peek() !== '"') throw this.unexpected('a key');
      const key = this.string();
      if (object.has(key)) {
        throw new DeitError('file-corrupt', 'The JSON text has a key twice in one object.', {
          where: this.where,
          found: JSON.stringify(key.slice(0, 200)),
        });
      }
      this.expect(':');
      object.set(key, this.value());
      if (this.takes('}')) return object;
      this.expect(',');
    }
  }

  private array(): JsonValue[] {
    const array: JsonValue[] = [];
    this.expect('[');
    if (this.takes(']')) return array;
    for (;;) {
      array.push(this.value());
      if (this.takes(']')) return array;
      this.expect(',');
    }
  }

  private string(): string {
    // By hand: a regular expression with a group under a star overflows its stack on a long string of escapes.
    const start = this.at++;
    for (let code = this.code(); code !== QUOTE; code = this.code()) {
      // Also where the text ends: NaN is not at least a space.
      if (!(code >= SPACE_CODE)) throw this.unexpected('the end of a string');
      this.at += code === BACKSLASH ? 2 : 1;
    }
    this.at++;
    let text: string;
    try {
      text = JSON.parse(this.text.slice(start, this.at)) as string;
    } catch {
      throw this.unexpected('valid escapes in the string before');
    }
    if (!text.isWellFormed()) throw this.unexpected('paired surrogates in the string before');
    return text;
  }

  private code(): number {
    return this.text.charCodeAt(this.at);
  }

  private nested<Result>(parse: () => Result): Result {
    const limit = this.options.maxDepth ?? 64;
    if (++this.depth > limit) {
      throw new DeitError('file-corrupt', 'The JSON text nests too deeply.', {
        where: this.where,
        expected: `at most ${limit} levels`,
      });
    }
    const result = parse();
    this.depth--;
    return result;
  }

  /** The next character that is not white space. */
  private peek(): string | undefined {
    SPACE.lastIndex = this.at;
    this.at += SPACE.exec(this.text)![0].length;
    return this.text[this.at];
  }

  private match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at += found[0].length;
    return found;
  }

  private expect(character: string): void {
    if (!this.takes(character)) throw this.unexpected(`"${character}"`);
  }

  private takes(character: string): boolean {
    if (this.peek() !== character) return false;
    this.at++;
    return true;
  }

  private unexpected(expected: string): DeitError {
    return new DeitError('file-corrupt', 'The JSON text is malformed.', {
      where: `${this.where}, character ${this.at}`,
      expected,
      found: this.at < this.text.length ? JSON.stringify(this.text.slice(this.at, this.at + 20)) : 'the end',
    });
  }
}
