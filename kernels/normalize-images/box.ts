/** A box of an image that random erasing fills. */
export interface ErasedBox {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
  /** A value for each channel, or normal noise: the draws of a stream (lib/philox.ts) from word number `word` on. */
  readonly fill: readonly [number, number, number] | ErasingNoise;
}

export interface ErasingNoise {
  readonly seed: number;
  readonly purpose: number;
  readonly step: number;
  readonly stream: number;
  readonly word: number;
}

/** Words of 32 bits that hold a box, as the kernel reads it: all zeros for none. */
export const BOX_WORDS = 16;

/** What a box is filled with. */
export const FILL = { none: 0, colour: 1, noise: 2 } as const;

/** Writes a box: top, left, bottom, right, what fills it, the place of the noise, and three f32 of colour. */
export function writeBox(
  words: Uint32Array<ArrayBuffer>,
  at: number,
  { top, left, height, width, fill }: ErasedBox,
): void {
  words.set([top, left, top + height, left + width], at);
  if ('word' in fill) words.set([FILL.noise, fill.seed, fill.purpose, fill.step, fill.stream, fill.word], at + 4);
  else {
    words[at + 4] = FILL.colour;
    new Float32Array(words.buffer, words.byteOffset + 4 * (at + 10), 3).set(fill);
  }
}

/** The box that `writeBox` wrote; null where there is none. */
export function readBox(words: Uint32Array<ArrayBuffer>, at: number): ErasedBox | null {
  const [top, left, bottom, right, kind, seed, purpose, step, stream, word] = words.subarray(at, at + 10);
  if (kind === FILL.none) return null;
  const [r, g, b] = new Float32Array(words.buffer, words.byteOffset + 4 * (at + 10), 3);
  const fill = kind === FILL.noise ? { seed, purpose, step, stream, word } : ([r, g, b] as const);
  return { top, left, height: bottom - top, width: right - left, fill };
}
