import { createHash } from 'node:crypto';
import { mkdtemp, mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeitError } from '../../engine/index.ts';
import { bfloatToNumber, f16ToNumber, numberToBfloat, numberToF16 } from '../../engine/float16.ts';
import { parseStrictJson } from '../../engine/json.ts';
import { readSafetensors, writeSafetensors } from '../../engine/node/safetensors-files.ts';
import {
  parseSafetensors,
  serializeSafetensors,
  storeElements,
  storeFloats,
  storedElements,
  toFloat32,
  toInt32,
} from '../../engine/safetensors.ts';
import type { StoredTensor } from '../../engine/safetensors.ts';

/** A file with this header text before `dataBytes` zero bytes; `length` lies if it is given. */
function file(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + text.byteLength + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(text.byteLength), true);
  bytes.set(text, 8);
  return bytes;
}

function failure(work: () => unknown): DeitError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(DeitError);
    return error as DeitError;
  }
  throw new Error('nothing was thrown');
}

const entry = (dtype: string, shape: string, begin: number | string, end: number | string): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;

describe('16-bit floats', () => {
  it('widens and narrows every finite f16 to itself', () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = f16ToNumber(bits);
      if (Number.isNaN(value)) expect(numberToF16(value)).toBe(0x7e00);
      else if (numberToF16(value) !== bits) expect.fail(`f16 ${bits} -> ${value} -> ${numberToF16(value)}`);
    }
    // IEEE 754 binary16: smallest subnormal, largest subnormal, 1, 1/3 rounded, largest.
    expect([0x0001, 0x03ff, 0x3c00, 0x3555, 0x7bff].map(f16ToNumber)).toEqual([
      2 ** -24,
      1023 * 2 ** -24,
      1,
      0.333251953125,
      65504,
    ]);
  });

  it('rounds to the nearest f16, ties to even, also into subnormals and infinity', () => {
    for (let bits = 0; bits < 0x7bff; bits++) {
      const middle = (f16ToNumber(bits) + f16ToNumber(bits + 1)) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      const found = [middle * (1 - 2 ** -20), middle, middle * (1 + 2 ** -20), -middle].map(numberToF16);
      if (found.join() !== [bits, even, bits + 1, even | 0x8000].join())
        expect.fail(`around ${middle}: ${found.join()}`);
    }
    expect([65519.99, 65520, 1e30, -Infinity].map(numberToF16)).toEqual([0x7bff, 0x7c00, 0x7c00, 0xfc00]);
  });

  it('rounds to the nearest bf16, ties to even', () => {
    for (let bits = 0; bits < 0x7f7f; bits++) {
      const [low, high] = [bfloatToNumber(bits), bfloatToNumber(bits + 1)];
      const even = bits % 2 === 0 ? bits : bits + 1;
      if (numberToBfloat(low) !== bits) expect.fail(`bf16 ${bits}`);
      if (numberToBfloat((low + high) / 2) !== even) expect.fail(`between bf16 ${bits} and the next`);
    }
    expect(bfloatToNumber(0x3f80)).toBe(1);
    expect(bfloatToNumber(0x4049)).toBe(3.140625);
    expect([NaN, Infinity, 3.4e38].map(numberToBfloat)).toEqual([0x7fc0, 0x7f80, 0x7f80]);
  });
});

describe('strict JSON', () => {
  it('agrees with JSON.parse on any JSON value', () => {
    const plain = (value: unknown): unknown =>
      value instanceof Map
        ? Object.fromEntries([...value].map(([k, v]) => [k, plain(v)]))
        : Array.isArray(value)
          ? value.map(plain)
          : value;
    fc.assert(
      fc.property(fc.json({ maxDepth: 4, stringUnit: 'grapheme' }), (text) => {
        fc.pre(!text.includes('__proto__'));
        expect(plain(parseStrictJson(text, 'test'))).toEqual(JSON.parse(text));
      }),
      { seed: 1 },
    );
  });

  it.each([
    ['{"a":1,"a":2}', 'twice'],
    ['{"a":1,"\\u0061":2}', 'twice'],
    ['"\\ud800"', 'surrogates'],
    ['"\\x"', 'escapes'],
    ['"\n"', 'malformed'],
    ['"abc', 'end of a string'],
    ['01', 'malformed'],
    ['[1,]', 'malformed'],
    ['{"a":1}x', 'malformed'],
    ['NaN', 'malformed'],
    ['', 'malformed'],
    ['['.repeat(100_000), 'deep'],
    ['"' + '\\n'.repeat(100_000), 'end of a string'],
  ])('refuses %.40s', (text, complaint) => {
    const error = failure(() => parseStrictJson(text, 'test'));
    expect(error.code).toBe('file-corrupt');
    expect(error.message).toContain(complaint);
  });

  it('takes __proto__ as a key', () => {
    const value = parseStrictJson('{"__proto__":{"polluted":1}}', 'test') as Map<string, unknown>;
    expect([...value.keys()]).toEqual(['__proto__']);
    expect('polluted' in {}).toBe(false);
  });
});

describe('safetensors', () => {
  const tensors = new Map<string, StoredTensor>([
    ['blocks.0.attn.qkv.bias', storeFloats(Float32Array.of(1, -2.5, 3e-8), [3])],
    ['num_batches_tracked', storeElements('I64', BigInt64Array.of(-(2n ** 40n)), [])],
    ['half', storeFloats(Float32Array.of(1, 0.1), [2, 1], 'F16')],
    ['brain', storeFloats(Float32Array.of(1, 0.1), [1, 2], 'BF16')],
    ['doubles', storeElements('F64', Float64Array.of(Math.PI), [1])],
    ['empty', storeFloats(new Float32Array(0), [0, 3])],
    ['flags', storeElements('BOOL', Uint8Array.of(1, 0, 1), [3])],
    ['__proto__', storeElements('I32', Int32Array.of(-7, 8), [2])],
  ]);

  it('keeps every tensor, name and note through a round trip', () => {
    const bytes = serializeSafetensors(tensors, new Map([['format', 'pt']]));
    const read = parseSafetensors(bytes);
    expect(Object.fromEntries(read.metadata)).toEqual({ format: 'pt' });
    expect(new Set(read.tensors.keys())).toEqual(new Set(tensors.keys()));
    for (const [name, { dtype, shape, bytes }] of tensors) {
      const found = read.tensors.get(name)!;
      expect([found.dtype, found.shape, [...found.bytes]], name).toEqual([dtype, shape, [...bytes]]);
      expect(found.bytes.byteOffset % 2, `${name} is aligned`).toBe(name === 'flags' ? found.bytes.byteOffset % 2 : 0);
    }
    expect([...toFloat32(read.tensors.get('half')!)]).toEqual([1, 0.0999755859375]);
    expect([...toFloat32(read.tensors.get('brain')!)]).toEqual([1, 0.10009765625]);
    expect([...toFloat32(read.tensors.get('doubles')!)]).toEqual([Math.fround(Math.PI)]);
    expect([...storedElements(read.tensors.get('num_batches_tracked')!)]).toEqual([-(2n ** 40n)]);
    expect([...toInt32(read.tensors.get('__proto__')!, '')]).toEqual([-7, 8]);
    expect(failure(() => toInt32(read.tensors.get('num_batches_tracked')!, 'n')).code).toBe('dtype-mismatch');
    expect(failure(() => toInt32(read.tensors.get('half')!, 'half')).code).toBe('dtype-mismatch');
  });

  it('reads the layout of the published description', () => {
    const header = `{"a":${entry('F32', '[2,1]', 2, 10)},"b":${entry('U8', '[2]', 0, 2)}}  `;
    const bytes = file(header, 10);
    bytes.set([7, 9, 0, 0, 128, 63, 0, 0, 0, 192], bytes.byteLength - 10);
    const read = parseSafetensors(bytes).tensors;
    expect([...toFloat32(read.get('a')!)]).toEqual([1, -2]);
    expect([...toInt32(read.get('b')!, 'b')]).toEqual([7, 9]);
  });

  it.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(0), '0 bytes'],
    ['a header longer than the file', file('{}', 0, 3n), 'header length of 3'],
    ['an absurd header length', file('{}', 0, 2n ** 63n), 'header length of 9223372036854775808'],
    ['a header over 100 MB', file('{}', 0, 100_000_001n), 'header length of 100000001'],
    ['a header that is not an object', file('[]'), 'byte 91'],
    ['bad UTF-8', file(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), 'UTF-8'],
    ['duplicate names', file(`{"a":${entry('U8', '[1]', 0, 1)},"a":${entry('U8', '[1]', 0, 1)}}`, 1), 'twice'],
    ['deep nesting', file(`{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`), 'deep'],
    ['an unknown dtype', file(`{"a":${entry('F31', '[1]', 0, 4)}}`, 4), '"F31" is not supported'],
    ['a dtype of the prototype', file(`{"a":${entry('toString', '[1]', 0, 4)}}`, 4), 'is not supported'],
    ['a negative size', file(`{"a":${entry('U8', '[-1,-1]', 0, 1)}}`, 1), 'shape is not'],
    ['a fractional size', file(`{"a":${entry('U8', '[1.0]', 0, 1)}}`, 1), 'not whole'],
    ['an overflowing shape', file(`{"a":${entry('U8', '[4294967296,4294967296]', 0, 0)}}`), 'too large'],
    ['a huge shape with a zero', file(`{"a":${entry('U8', '[0,9007199254740991,9]', 0, 0)}}`), 'too large'],
    ['offsets that do not fit the shape', file(`{"a":${entry('F32', '[2]', 0, 4)}}`, 4), 'takes 8 bytes'],
    ['offsets that span more than the shape', file(`{"a":${entry('U8', '[1]', 0, 2)}}`, 2), 'takes 1 bytes'],
    ['offsets in the wrong order', file(`{"a":${entry('U8', '[1]', 1, 0)}}`, 1), 'span -1'],
    ['offsets beyond the file', file(`{"a":${entry('U8', '[9]', 0, 9)}}`, 4), 'ends at 9 of 4'],
    ['overflowing offsets', file(`{"a":${entry('U8', '[1]', '18446744073709551615', 0)}}`, 1), 'not two offsets'],
    ['a gap', file(`{"a":${entry('U8', '[1]', 0, 1)},"b":${entry('U8', '[1]', 2, 3)}}`, 3), '"b": leaves a gap'],
    ['an overlap', file(`{"a":${entry('U8', '[2]', 0, 2)},"b":${entry('U8', '[2]', 1, 3)}}`, 3), '"b": overlaps'],
    ['bytes of no tensor', file(`{"a":${entry('U8', '[1]', 0, 1)}}`, 3), '2 bytes at the end'],
    ['a missing field', file('{"a":{"dtype":"U8","shape":[1]}}', 1), 'not two offsets'],
    ['an unknown field', file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}', 1), 'unknown field "x"'],
    ['metadata that is not text', file('{"__metadata__":{"a":1}}'), 'is not a string'],
  ])('refuses %s', (_, bytes, complaint) => {
    const error = failure(() => parseSafetensors(bytes, 'some.safetensors'));
    expect(error.code).toBe('file-corrupt');
    expect(error.message).toContain(complaint);
    expect(error.message).toContain('some.safetensors');
  });

  it('lists all problems at once', () => {
    const { message } = failure(() =>
      parseSafetensors(file(`{"a":${entry('X', '[1]', 0, 1)},"b":${entry('U8', '[2]', 0, 1)},"c":3}`, 1)),
    );
    for (const name of ['"a"', '"b"', '"c"']) expect(message).toContain(name);
  });

  it('rejects or reads mutated files, and never fails otherwise', () => {
    const original = serializeSafetensors(tensors, new Map([['format', 'pt']]));
    const headerBytes = Number(new DataView(original.buffer).getBigUint64(0, true)) + 8;
    let rejected = 0;
    const change = fc.record({ at: fc.nat(headerBytes - 1), value: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), fc.nat(20), (changes, cut) => {
        const bytes = original.slice(0, original.byteLength - (cut < 15 ? 0 : cut));
        for (const { at, value } of changes) bytes[at] = value;
        try {
          const total = [...parseSafetensors(bytes).tensors.values()].reduce((sum, t) => sum + t.bytes.byteLength, 0);
          expect(total).toBeLessThanOrEqual(bytes.byteLength);
        } catch (error) {
          if (!(error instanceof DeitError) || error.code !== 'file-corrupt') throw error;
          rejected++;
        }
      }),
      { numRuns: 3000, seed: 7 },
    );
    expect(rejected).toBeGreaterThan(1500);
  });

  it('refuses to write a tensor whose bytes do not fit its shape', () => {
    const wrong = new Map([['a', storeFloats(new Float32Array(3), [2])]]);
    expect(failure(() => serializeSafetensors(wrong)).message).toContain('8 bytes');
  });
});

describe('safetensors files', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'safetensors-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const rejection = async (promise: Promise<unknown>): Promise<DeitError> => {
    const error: unknown = await promise.then(
      () => expect.fail('nothing was thrown'),
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(DeitError);
    return error as DeitError;
  };
  const one = (name: string, ...values: number[]) => new Map([[name, storeFloats(Float32Array.from(values))]]);

  it('reads what Python wrote', async () => {
    const path = 'test/golden/models_deit_distilled.safetensors';
    const { tensors } = await readSafetensors(path);
    expect(tensors.get('train.logits_cls')).toMatchObject({ dtype: 'F64', shape: [4, 5] });
    const again = parseSafetensors(await readFile(path)).tensors;
    expect([...again.keys()]).toEqual([...tensors.keys()]);
  });

  it('replaces a file whole, and leaves it alone when writing fails', async () => {
    const path = join(folder, 'a.safetensors');
    await writeSafetensors(path, one('a', 1));
    await writeSafetensors(path, one('b', 2, 3), new Map([['step', '7']]));
    const read = await readSafetensors(path);
    expect([...read.tensors.keys(), read.metadata.get('step')]).toEqual(['b', '7']);
    expect((await rejection(writeSafetensors(join(folder, 'no', 'a.safetensors'), one('a', 1)))).code).toBe(
      'file-unwritable',
    );
    await mkdir(join(folder, 'taken', 'inside'), { recursive: true });
    expect((await rejection(writeSafetensors(join(folder, 'taken'), one('a', 1)))).code).toBe('file-unwritable');
    expect((await readdir(folder)).sort()).toEqual(['a.safetensors', 'taken']);
  });

  it('carry checksums of their own, and of one flipped bit anywhere nothing is loaded', async () => {
    const path = join(folder, 'summed.safetensors');
    const notes = new Map([['deit-webgpu-run', '{"step":500}']]);
    await writeSafetensors(path, new Map([...one('a', 1, 2), ...one('b', 3)]), notes);
    expect((await readSafetensors(path)).metadata).toEqual(notes);
    const whole = await readFile(path);
    const header = whole.subarray(8, 8 + Number(whole.readBigUInt64LE()));
    const sum = createHash('sha256')
      .update(whole.subarray(8 + header.length))
      .digest('hex');
    expect(JSON.parse(header.toString())).toMatchObject({ __metadata__: { 'deit-webgpu-data-sha256': sum } });
    const unseen: string[] = [];
    for (let byte = 0; byte < whole.length; byte++) {
      const flipped = Uint8Array.from(whole);
      flipped[byte] ^= 1 << ((5 * byte) % 8);
      await writeFile(path, flipped);
      const code = await readSafetensors(path).then(
        () => 'read',
        (error: DeitError) => error.code,
      );
      if (code !== 'file-corrupt') unseen.push(`byte ${byte}: ${code}`);
    }
    expect(unseen).toEqual([]);
  });

  it('have the order of bytes that the reference implementation gives them, whatever order they come in', () => {
    // serialize of safetensors 0.8.0: by dtype, widest first and in this order, then by name.
    const dtypes = ['U64', 'I64', 'F64', 'F32', 'U32', 'I32', 'BF16', 'F16', 'U16', 'I16', 'I8', 'U8', 'BOOL'] as const;
    const widths = { U64: 8, I64: 8, F64: 8, F32: 4, U32: 4, I32: 4, BF16: 2, F16: 2, U16: 2, I16: 2, I8: 1, U8: 1, BOOL: 1 }; // prettier-ignore
    const expected = dtypes.flatMap((dtype) => [`${dtype}.a`, `${dtype}.b`]);
    const stored = (name: string): [string, StoredTensor] => {
      const dtype = name.slice(0, -2) as (typeof dtypes)[number];
      return [name, { dtype, shape: [1], bytes: new Uint8Array(widths[dtype]) }];
    };
    const written = parseSafetensors(serializeSafetensors(new Map([...expected].sort().reverse().map(stored))));
    const begins = [...written.tensors].map(([name, { bytes }]) => ({ name, begin: bytes.byteOffset }));
    expect(begins.sort((a, b) => a.begin - b.begin).map(({ name }) => name)).toEqual(expected);
  });

  it('names files that are missing, truncated, or pickles', async () => {
    expect((await rejection(readSafetensors(join(folder, 'none')))).code).toBe('file-unreadable');
    const whole = serializeSafetensors(one('a', 1, 2, 3));
    await writeFile(join(folder, 'cut.safetensors'), whole.subarray(0, -5));
    expect((await rejection(readSafetensors(join(folder, 'cut.safetensors')))).message).toContain('truncated');
    await writeFile(join(folder, 'model.pth'), Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0));
    expect((await rejection(readSafetensors(join(folder, 'model.pth')))).message).toContain('pickle');
  });

  it('joins shards by their index, and lists what does not agree', async () => {
    const shards = join(folder, 'shards');
    await mkdir(shards);
    await writeSafetensors(join(shards, 'one.safetensors'), one('a', 1));
    await writeSafetensors(join(shards, 'two.safetensors'), one('b', 2));
    const index = (map: object): Promise<void> =>
      writeFile(join(shards, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: map }));
    await index({ a: 'one.safetensors', b: 'two.safetensors' });
    expect([...(await readSafetensors(shards)).tensors.keys()]).toEqual(['a', 'b']);

    await symlink(join(folder, 'a.safetensors'), join(shards, 'link.safetensors'));
    await index({ a: 'one.safetensors', c: 'one.safetensors', d: '../a.safetensors', b: 'link.safetensors' });
    const error = await rejection(readSafetensors(shards));
    expect(error.code).toBe('file-corrupt');
    for (const part of ['"c" is not in', '"../a.safetensors" is not a file', '"link.safetensors" is not a file']) {
      expect(error.message).toContain(part);
    }
    await index({ a: 'two.safetensors', b: 'two.safetensors' });
    await writeSafetensors(join(shards, 'two.safetensors'), new Map([...one('b', 2), ...one('c', 3)]));
    const misplaced = await rejection(readSafetensors(shards));
    expect(misplaced.message).toContain('two.safetensors holds "c", which the index does not place there');
    expect(misplaced.message).toContain('"a" is not in "two.safetensors"');
    await index({});
    expect((await rejection(readSafetensors(shards))).message).toContain('weight_map');
  });
});
