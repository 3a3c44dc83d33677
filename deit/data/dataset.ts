/** What every source of labelled images looks like to the rest of the program. Browser-safe. */
import { DeitError } from '../../engine/index.ts';

/** An 8-bit RGB picture, row by row, three bytes a pixel (HWC). */
export interface RgbImage {
  width: number;
  height: number;
  /** width * height * 3 bytes. */
  readonly data: Uint8Array;
  /** A rectangle of whole pixels inside the image, where that is less work than all of it: of a file still to be decoded. */
  part?(rect: { left: number; top: number; width: number; height: number }): RgbImage;
}

/** A picture from a file. */
export interface DecodedImage extends RgbImage {
  /** What a reader of the results should know of how it was read. */
  note?: string;
}

export type Split = 'train' | 'val' | 'test';

/** A part of a file. */
export interface FileRange {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  /** Size and time of change (ms) of the file when the range was found. */
  readonly size: number;
  readonly changed: number;
}

/** Labelled images, by index 0 .. length - 1. Labels index `classes`. */
export interface Dataset {
  /** Shown to people: where the images come from. */
  readonly name: string;
  readonly split: Split;
  readonly classes: readonly string[];
  readonly length: number;
  image(index: number): Promise<RgbImage>;
  label(index: number): number;
  /** File that holds the image, if it is a file of its own: such images can be decoded by worker threads. */
  path?(index: number): string;
  /** The same, relative to the folder of the data set and with forward slashes: the name stays where the set is moved. */
  relativePath?(index: number): string;
  /** Where in a larger file the image lies, if it is in one; `path` is then only what people call it. */
  range?(index: number): FileRange;
  /** Folder inside which such files must lie once links are followed; undefined: anywhere. */
  readonly root?: string | undefined;
}

/** Images that are all in memory, 8-bit RGB (HWC), all of one size. */
export class MemoryDataset implements Dataset {
  readonly name: string;
  readonly split: Split;
  readonly classes: readonly string[];
  readonly length: number;
  readonly imageSize: number;
  private readonly labels: Uint8Array | Uint32Array;
  private readonly pixels: Uint8Array;

  /** `pixels` holds length * imageSize * imageSize * 3 bytes, image by image. */
  constructor(source: {
    name: string;
    split: Split;
    classes: readonly string[];
    imageSize: number;
    labels: Uint8Array | Uint32Array;
    pixels: Uint8Array;
  }) {
    const bytes = source.labels.length * source.imageSize * source.imageSize * 3;
    if (source.pixels.length !== bytes) {
      throw new DeitError('bad-data', 'Pixels and labels of a data set in memory do not belong together.', {
        where: source.name,
        expected: `${bytes} bytes for ${source.labels.length} images of ${source.imageSize} x ${source.imageSize}`,
        found: `${source.pixels.length} bytes`,
      });
    }
    this.name = source.name;
    this.split = source.split;
    this.classes = source.classes;
    this.length = source.labels.length;
    this.imageSize = source.imageSize;
    this.labels = source.labels;
    this.pixels = source.pixels;
  }

  /** The image without a copy: do not write into it. */
  rgb(index: number): RgbImage {
    checkIndex(this, index);
    const bytes = this.imageSize * this.imageSize * 3;
    return {
      width: this.imageSize,
      height: this.imageSize,
      data: this.pixels.subarray(index * bytes, (index + 1) * bytes),
    };
  }

  image(index: number): Promise<RgbImage> {
    return Promise.resolve(this.rgb(index));
  }

  label(index: number): number {
    checkIndex(this, index);
    return this.labels[index];
  }
}

/** Some images of another data set, in the order of `indices`. */
export class SubsetDataset implements Dataset {
  readonly name: string;
  readonly split: Split;
  readonly classes: readonly string[];
  readonly length: number;
  readonly path?: (index: number) => string;
  readonly relativePath?: (index: number) => string;
  readonly range?: (index: number) => FileRange;
  readonly root: string | undefined;

  constructor(
    private readonly base: Dataset,
    private readonly indices: Uint32Array,
    split: Split = base.split,
  ) {
    this.name = base.name;
    this.split = split;
    this.classes = base.classes;
    this.length = indices.length;
    this.root = base.root;
    if (base.path) this.path = (index) => base.path!(this.at(index));
    if (base.range) this.range = (index) => base.range!(this.at(index));
    if (base.relativePath) this.relativePath = (index) => base.relativePath!(this.at(index));
  }

  image(index: number): Promise<RgbImage> {
    return this.base.image(this.at(index));
  }

  label(index: number): number {
    return this.base.label(this.at(index));
  }

  private at(index: number): number {
    checkIndex(this, index);
    return this.indices[index];
  }
}

/** Throws unless 0 <= index < length. */
export function checkIndex(dataset: Pick<Dataset, 'name' | 'length'>, index: number): void {
  if (Number.isInteger(index) && index >= 0 && index < dataset.length) return;
  throw new DeitError('bad-argument', 'There is no image with this number.', {
    where: dataset.name,
    expected: `an integer from 0 to ${dataset.length - 1}`,
    found: String(index),
  });
}

/** The label of each image. */
export const labelsOf = (dataset: Dataset): Uint32Array =>
  Uint32Array.from({ length: dataset.length }, (_, index) => dataset.label(index));

/** Number of images of each class. */
export function countClasses(dataset: Dataset): Uint32Array {
  const counts = new Uint32Array(dataset.classes.length);
  for (let i = 0; i < dataset.length; i++) counts[dataset.label(i)]++;
  return counts;
}
