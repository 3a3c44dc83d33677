/**
 * Batches of augmented images as bytes, a quarter of the memory of floats: what is left to do, normalization and random erasing,
 * the GPU does (../image-input.ts), or `normalized` here. Browser-safe.
 */
import { BOX_WORDS, readBox, writeBox } from '../../engine/index.ts';
import type { ErasedBox } from '../../engine/index.ts';
import { fillBoxes } from './random-erasing.ts';
import { normalizationTables, writeChw } from './transforms.ts';
import type { Normalization } from './transforms.ts';

export class ImageBytes {
  /** Bytes [count, imageSize, imageSize, 3], filled up to a whole word. */
  readonly pixels: Uint8Array<ArrayBuffer>;
  /** What is erased, as the kernel reads it: [count, boxes, 16]. */
  readonly boxes: Uint32Array<ArrayBuffer>;

  /** `boxesPerImage`: how many there may be. `room`: memory of another batch, used again for the pixels if it is as large. */
  constructor(
    readonly count: number,
    readonly imageSize: number,
    readonly boxesPerImage: number,
    readonly normalization: Normalization,
    room?: ArrayBuffer,
  ) {
    const length = 4 * Math.ceil((count * this.imageBytes) / 4);
    this.pixels = room?.byteLength === length ? new Uint8Array(room) : new Uint8Array(length);
    this.boxes = new Uint32Array(count * boxesPerImage * BOX_WORDS);
  }

  get imageBytes(): number {
    return 3 * this.imageSize ** 2;
  }

  /** Takes images from another batch of the same kind: `count` from number `from` on become those from `to` on. */
  take(other: Pick<ImageBytes, 'pixels' | 'boxes'>, from: number, to: number, count: number): void {
    const { imageBytes } = this;
    const words = this.boxesPerImage * BOX_WORDS;
    this.pixels.set(other.pixels.subarray(from * imageBytes, (from + count) * imageBytes), to * imageBytes);
    this.boxes.set(other.boxes.subarray(from * words, (from + count) * words), to * words);
  }

  setBoxes(image: number, boxes: readonly ErasedBox[]): void {
    writeBoxes(this.boxes, image * this.boxesPerImage, boxes);
  }

  /** The normalized planes [count, 3, imageSize, imageSize]. */
  normalized(): Float32Array<ArrayBuffer> {
    const { count, imageSize, imageBytes, boxesPerImage } = this;
    const tables = normalizationTables(this.normalization);
    const planes = new Float32Array(count * imageBytes);
    for (let i = 0; i < count; i++) {
      const data = this.pixels.subarray(i * imageBytes, (i + 1) * imageBytes);
      writeChw({ width: imageSize, height: imageSize, data }, tables, planes, i * imageBytes);
      const own = Array.from({ length: boxesPerImage }, (_, b) =>
        readBox(this.boxes, (i * boxesPerImage + b) * BOX_WORDS),
      );
      const boxes = own.filter((box) => box !== null);
      fillBoxes(planes, i * imageBytes, imageSize, imageSize, boxes);
    }
    return planes;
  }
}

/** Writes boxes from number `first` on. */
export const writeBoxes = (words: Uint32Array<ArrayBuffer>, first: number, boxes: readonly ErasedBox[]): void =>
  boxes.forEach((box, b) => writeBox(words, (first + b) * BOX_WORDS, box));
