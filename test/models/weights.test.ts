import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DeitError, parseSafetensors, storeFloats, toFloat32 } from '../../engine/index.ts';
import type { StoredTensor } from '../../engine/index.ts';
import { createModel, summarizeModel } from '../../deit/models/registry.ts';
import { plainClasses } from '../../deit/weights/classes.ts';
import { loadWeights, positionTaps, resizePositionEmbedding } from '../../deit/weights/index.ts';
import { saveState, stateValues } from '../../nn/index.ts';
import { expectClose } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { weight } from '../support/generator.ts';

/** [name there, shape there, timm name, first row, end row]: see test/golden/names.py. */
type Row = [name: string, shape: number[], timm: string, first: number | null, end: number | null];
const { namings } = JSON.parse(readFileSync('test/golden/names.json', 'utf8')) as {
  namings: Record<string, Record<string, Row[]>>;
};

const TINY = 'img_size=32 patch_size=8 embed_dim=24 depth=2 num_heads=3 num_classes=5';
const SPECS: Record<string, string> = {
  deit_distilled: `deit_tiny_distilled_patch16_224 ${TINY}`,
  deit_plain: `deit_tiny_patch16_224 ${TINY}`,
  regnety: 'regnety_002 w0=8 wa=8 wm=1.8 depth=6 group_width=8 num_classes=5',
};
const shapesOf = (spec: string) => new Map(summarizeModel(spec).tensors.map(({ name, shape }) => [name, shape]));
const rows = (shape: readonly number[]): number => shape.slice(1).reduce((a, b) => a * b, 1);

/** The tensors of the generator, under another library's names. */
function foreign(spec: string, table: Row[], dtype: 'F32' | 'F16' | 'BF16' = 'F32'): Map<string, StoredTensor> {
  const shapes = shapesOf(spec);
  return new Map(
    table.map(([name, shape, timm, first, end]) => {
      const whole = timm.endsWith('num_batches_tracked') ? Float32Array.of(3) : weight(timm, shapes.get(timm)!);
      const values = first === null ? whole : whole.slice(first * rows(shape), end! * rows(shape));
      return [name, storeFloats(values, shape, dtype)];
    }),
  );
}

async function failure(work: () => unknown): Promise<DeitError> {
  try {
    await work();
  } catch (error) {
    expect(error).toBeInstanceOf(DeitError);
    return error as DeitError;
  }
  throw new Error('nothing was thrown');
}

describe('weights of other libraries', () => {
  const engine = useEngine();

  const cases = Object.entries(namings).flatMap(([model, styles]) =>
    Object.entries(styles).map(([style, table]): [string, string, Row[]] => [model, style, table]),
  );
  it.each(cases)('%s in the naming of %s', async (key, style, table) => {
    const spec = SPECS[key];
    const model = createModel(engine(), spec);
    const { notes } = loadWeights(model, stateValues(foreign(spec, table)));
    expect(notes[0]).toMatch(/^renamed from/);
    expect(notes.some((note) => note.includes('BGR'))).toBe(style === 'pycls');
    const state = await saveState(model);
    expect(new Set(state.keys())).toEqual(new Set(shapesOf(spec).keys()));
    for (const [name, stored] of state) {
      if (name.endsWith('num_batches_tracked')) {
        expect(toFloat32(stored)[0], name).toBe(3);
        continue;
      }
      let expected = weight(name, stored.shape);
      if (style === 'pycls' && name === 'stem.conv.weight') {
        // Rows of 3 channels of 3 x 3: the channels in reverse order.
        expected = Float32Array.from(expected, (_, i) => {
          const [filter, channel, tap] = [Math.floor(i / 27), Math.floor(i / 9) % 3, i % 9];
          return expected[filter * 27 + (2 - channel) * 9 + tap];
        });
      }
      expectClose(toFloat32(stored), expected, 0, name);
    }
  });

  it.each([['F16', 2 ** -11] as const, ['BF16', 2 ** -8] as const])('in %s', async (dtype, rounding) => {
    const spec = SPECS.deit_distilled;
    const model = createModel(engine(), spec);
    loadWeights(model, stateValues(foreign(spec, namings.deit_distilled.transformersClassic, dtype)));
    const state = await saveState(model);
    for (const [name, stored] of state) expectClose(toFloat32(stored), weight(name, stored.shape), rounding, name);
  });

  // As torch.compile and DistributedDataParallel name what they wrap, in either order, whole models or parts of them.
  it.each([
    ['module.', (name: string) => `module.${name}`],
    ['_orig_mod.', (name: string) => `_orig_mod.${name}`],
    ['module._orig_mod.', (name: string) => `module._orig_mod.${name}`],
    ['_orig_mod.module.', (name: string) => `_orig_mod.module.${name}`],
    ['model._orig_mod.module.', (name: string) => `model._orig_mod.module.${name}`],
    ['_orig_mod within', (name: string) => name.replace(/^blocks\.(\d)\./, 'blocks.$1._orig_mod.')],
    ['module, _orig_mod within', (name: string) => `module.${name.replace('attn.', 'attn._orig_mod.')}`],
    ['FSDP', (name: string) => name.replace(/^blocks\.(\d)\./, '_fsdp_wrapped_module.blocks.$1._fsdp_wrapped_module._checkpoint_wrapped_module.')], // prettier-ignore
  ])('inside more levels of names: %s', async (_style, wrap) => {
    const spec = SPECS.deit_plain;
    const names = [...shapesOf(spec)];
    const wrapped = new Map(names.map(([name, shape]) => [wrap(name), storeFloats(weight(name, shape), shape)]));
    const model = createModel(engine(), spec);
    expect(loadWeights(model, stateValues(wrapped)).notes).toEqual([]);
    for (const [name, stored] of await saveState(model)) {
      expectClose(toFloat32(stored), weight(name, stored.shape), 0, name);
    }
  });

  it('whose names are those of one tensor twice are refused', async () => {
    const spec = SPECS.deit_plain;
    const given = new Map([...shapesOf(spec)].map(([name, shape]) => [name, storeFloats(weight(name, shape), shape)]));
    given.set('_orig_mod.norm.bias', given.get('norm.bias')!);
    const error = await failure(() => loadWeights(createModel(engine(), spec), stateValues(given)));
    expect(error.message).toMatch(/Two tensors[^]*norm\.bias/);
  });

  /** Rows of a tensor of the generator, in the order given. */
  const permuted = (name: string, shape: readonly number[], order: readonly number[]): number[] => {
    const width = rows(shape);
    return order.flatMap((row) => [...weight(name, shape).slice(row * width, (row + 1) * width)]);
  };
  it.each(['timm', 'transformersClassic'])('whose classes are in another order are put in order, %s', async (style) => {
    const spec = SPECS.deit_distilled;
    const given =
      style === 'timm'
        ? new Map([...shapesOf(spec)].map(([name, shape]) => [name, storeFloats(weight(name, shape), shape)]))
        : foreign(spec, namings.deit_distilled[style]);
    const head = plainClasses(['ant', 'bee', 'cow', 'dog', 'eel']);
    for (const [wanted, order] of [
      [
        ['eel', 'cow', 'ant', 'dog', 'bee'],
        [4, 2, 0, 3, 1],
      ],
      [
        ['dog', 'bee'],
        [3, 1],
      ],
    ] as const) {
      for (const newHead of [false, true]) {
        const model = createModel(engine(), spec, { classes: wanted.length });
        const { notes } = loadWeights(model, stateValues(given), { newHead, classes: { head, wanted } });
        expect(notes.at(-1)).toMatch(wanted.length === 5 ? /another order: matched by name/ : /of the 5 classes.* 2 are in the data/); // prettier-ignore
        for (const [name, stored] of await saveState(model)) {
          const whole = shapesOf(spec).get(name)!;
          const expected = name.startsWith('head') ? permuted(name, whole, order) : weight(name, whole);
          expectClose(toFloat32(stored), expected, 0, name);
        }
      }
    }
  });

  it('of other classes keep no row of their heads, or are refused', async () => {
    const spec = SPECS.deit_distilled;
    const classes = {
      head: plainClasses(['ant', 'bee', 'cow', 'dog', 'eel']),
      wanted: ['ant', 'bee', 'cow', 'dog', 'fly'],
    };
    const model = createModel(engine(), spec);
    const before = await saveState(model);
    const given = stateValues(foreign(spec, namings.deit_distilled.transformersClassic));
    const error = await failure(() => loadWeights(model, given, { classes }));
    expect(error.code).toBe('class-mismatch');
    expect(error.message).toMatch(/only in the data: fly\n.*only in the weights: eel/);
    const { notes } = loadWeights(model, given, { newHead: true, classes });
    expect(notes.at(-1)).toMatch(/^the head is new/);
    for (const [name, stored] of await saveState(model)) {
      const expected = name.startsWith('head') ? toFloat32(before.get(name)!) : weight(name, stored.shape);
      expectClose(toFloat32(stored), expected, 0, name);
    }
  });

  it('leaves out poolers and mask tokens', () => {
    const spec = SPECS.deit_plain;
    const tensors = foreign(spec, namings.deit_plain.transformersClassic);
    tensors.set('vit.pooler.dense.weight', storeFloats(new Float32Array(4), [2, 2]));
    const { notes } = loadWeights(createModel(engine(), spec), stateValues(tensors));
    expect(notes).toContain('left out vit.pooler.dense.weight, which a classifier does not use');
  });

  it('names everything that does not fit, and changes nothing', async () => {
    const spec = SPECS.deit_distilled;
    const model = createModel(engine(), spec);
    const before = await saveState(model);
    const tensors = foreign(spec, namings.deit_distilled.transformersClassic);
    tensors.delete('deit.encoder.layer.1.attention.attention.key.weight');
    tensors.delete('deit.layernorm.weight');
    tensors.set('deit.layernorm.bias', storeFloats(new Float32Array(25), [25]));
    tensors.set('extra', storeFloats(new Float32Array(1)));
    const error = await failure(() => loadWeights(model, stateValues(tensors)));
    expect(error.code).toBe('state-mismatch');
    for (const part of [
      '2 missing: norm.weight, blocks.1.attn.qkv.weight',
      '3 unexpected: extra, blocks.1.attn.qkv.weight (queries), blocks.1.attn.qkv.weight (values)',
      '1 misshapen: norm.bias [25] instead of [24]',
    ]) {
      for (const name of part.split(': ')[1].split(', ')) expect(error.message).toContain(name);
      expect(error.message).toContain(part.split(':')[0]);
    }
    const after = await saveState(model);
    for (const [name, stored] of after) expectClose(toFloat32(stored), toFloat32(before.get(name)!), 0, name);
  });

  it('leaves heads for other classes alone when asked to, and only then', async () => {
    const spec = SPECS.deit_distilled;
    const model = createModel(engine(), spec, { classes: 3 });
    const before = await saveState(model);
    const values = stateValues(foreign(spec, namings.deit_distilled.transformers5));
    expect((await failure(() => loadWeights(model, values))).message).toContain(
      'head.weight [5, 24] instead of [3, 24]',
    );
    const { notes } = loadWeights(model, values, { newHead: true });
    expect(notes.filter((note) => note.includes('as initialised'))).toHaveLength(4);
    const after = await saveState(model);
    for (const [name, stored] of after) {
      const expected = name.startsWith('head') ? toFloat32(before.get(name)!) : weight(name, stored.shape);
      expectClose(toFloat32(stored), expected, 0, name);
    }
  });

  it('resizes position embeddings to the resolution of the model', async () => {
    const spec = SPECS.deit_distilled;
    const model = createModel(engine(), spec, { imageSize: 48 });
    const { notes } = loadWeights(model, stateValues(foreign(spec, namings.deit_distilled.transformersClassic)), {
      posEmbed: 'timm',
    });
    expect(notes.at(-1)).toBe('resized the position embedding from 4 x 4 to 6 x 6 by the rule "timm"');
    const found = toFloat32((await saveState(model)).get('pos_embed')!);
    const resize = { prefix: 2, from: [4, 4], to: [6, 6], width: 24, rule: 'timm' } as const;
    expectClose(found, resizePositionEmbedding(weight('pos_embed', [1, 18, 24]), resize), 0);
  });
});

describe('position embeddings at another resolution', () => {
  // spec/deit.md section 6, six digits.
  it.each([
    [14, 24, 0, 'bicubic', [1.097928, -0.097928]],
    [14, 24, 0, 'timm', [1.077741, -0.077741]],
    [14, 24, 1, 'bicubic', [0.639648, 0.42627, -0.065918]],
    [14, 24, 1, 'timm', [0.677889, 0.363057, -0.040946]],
    [14, 24, 5, 'bicubic', [0, -0.045193, 0.315339, 0.839609, -0.109755]],
    [14, 24, 5, 'timm', [0, -0.030129, 0.278754, 0.824544, -0.07317]],
    [2, 4, 0, 'bicubic', [1.105469, -0.105469]],
    [2, 4, 1, 'bicubic', [0.773438, 0.226563]],
    [2, 4, 0, 'timm', [1.088235, -0.088235]],
    [2, 4, 1, 'timm', [0.792857, 0.207143]],
    [4, 2, 0, 'bicubic', [0.5, 0.59375, -0.09375, 0]],
    [4, 2, 0, 'timm', [0.458678, 0.458678, 0.119835, -0.03719]],
  ] as const)('%i -> %i, position %i, rule %s', (from, to, target, rule, expected) => {
    const { first, weights } = positionTaps(target, from, to, rule);
    const found = Array<number>(from).fill(0);
    weights.forEach((weight, tap) => (found[Math.min(Math.max(first + tap, 0), from - 1)] += weight));
    for (let i = 0; i < from; i++) expect(found[i]).toBeCloseTo(expected[i] ?? 0, 6);
  });

  it('2 x 2 -> 4 x 4', () => {
    const resize = { prefix: 0, from: [2, 2], to: [4, 4], width: 1, rule: 'bicubic' } as const;
    const v = resizePositionEmbedding([0, 1, 2, 3], resize);
    const expected = [-0.316406, 0.015625, 0.5625, 0.894531, 0.347656, 0.679688, 1.226563, 1.558594];
    // Stated to six digits, 1.2265625 among them; the result is f32.
    expected.forEach((value, i) => expect(Math.abs(v[i] - value)).toBeLessThan(7e-7));
    for (let i = 0; i < 16; i++) expect(v[15 - i]).toBeCloseTo(3 - v[i], 6);
  });

  const golden = parseSafetensors(readFileSync('test/golden/posembed.safetensors')).tensors;
  const cases = JSON.parse(readFileSync('test/golden/posembed.json', 'utf8')) as {
    prefix: number;
    from: [number, number];
    to: [number, number];
    table: string;
    bicubic: string;
    antialiased: string;
  }[];
  it.each(cases)(
    "$from -> $to with $prefix in front is PyTorch's",
    ({ prefix, from, to, table, bicubic, antialiased }) => {
      const values = toFloat32(golden.get(table)!);
      const width = golden.get(table)!.shape[2];
      for (const [rule, name] of [
        ['bicubic', bicubic],
        ['timm', antialiased],
      ] as const) {
        const found = resizePositionEmbedding(values, { prefix, from, to, width, rule });
        // Both in float64; the result is rounded to f32, and so are the larger goldens.
        expectClose(found, toFloat32(golden.get(name)!), 1e-7, `${rule} ${from.join()} -> ${to.join()}`);
      }
    },
  );

  it('refuses a table of another size', () => {
    const resize = { prefix: 1, from: [2, 2], to: [4, 4], width: 1, rule: 'bicubic' } as const;
    expect(() => resizePositionEmbedding([0, 1, 2, 3], resize)).toThrow(/1 \+ 2 x 2 entries/);
  });
});
