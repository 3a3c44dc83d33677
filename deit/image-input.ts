/** The images of a batch on the GPU, written anew for each batch. Browser-safe. */
import type { Engine, Tensor } from '../engine/index.ts';
import { normalizeImages } from '../engine/index.ts';
import { normalizationTables } from './data/index.ts';
import type { ImageBytes, Normalization } from './data/index.ts';

/** Images as a batch has them: normalised planes [size, 3, imageSize, imageSize], or bytes. */
export type HostImages = Float32Array | ImageBytes;

/** As many bytes and boxes as the largest batch has. */
interface Received {
  readonly pixels: Tensor;
  readonly table: Tensor;
  readonly boxes: Tensor | null;
  readonly normalization: Normalization;
}

/** Kept images [batchSize, 3, imageSize, imageSize], f32. Bytes are normalised on the GPU, and their boxes erased. */
export class ImageInput {
  readonly images: Tensor;
  private received: Received | null = null;

  constructor(
    private readonly engine: Engine,
    private readonly batchSize: number,
    private readonly imageSize: number,
  ) {
    this.images = engine.empty([batchSize, 3, imageSize, imageSize]).keep('input');
  }

  /** Writes a batch; a smaller one is filled up with zeros, which as bytes are black. */
  write(batch: HostImages): void {
    if (batch instanceof Float32Array) {
      this.images.write(filled(batch, this.images.size));
      return;
    }
    const { pixels, table, boxes } = this.receive(batch);
    pixels.write(filled(new Uint32Array(batch.pixels.buffer), pixels.size));
    boxes?.write(filled(batch.boxes, boxes.size));
    normalizeImages({ pixels, table, boxes }, this.images);
  }

  release(): void {
    this.engine.free(this.images);
    this.releaseReceived();
  }

  /** Room on the GPU, made for the first batch: those that follow are of its kind. */
  private receive({ boxes, boxesPerImage, normalization }: ImageBytes): Received {
    const { engine, batchSize, received } = this;
    const size = boxes.length === 0 ? 0 : batchSize * boxesPerImage * 16;
    if (received && received.normalization === normalization && (received.boxes?.size ?? 0) === size) return received;
    this.releaseReceived();
    const words = Math.ceil((3 * batchSize * this.imageSize ** 2) / 4);
    const levels = normalizationTables(normalization).flatMap((table) => [...table]);
    this.received = {
      pixels: engine.empty([words], 'u32').keep('input'),
      table: engine.tensor(levels, [3, 256]).keep('input'),
      boxes: size > 0 ? engine.empty([size], 'u32').keep('input') : null,
      normalization,
    };
    return this.received;
  }

  private releaseReceived(): void {
    const { pixels, table, boxes } = this.received ?? {};
    for (const tensor of [pixels, table, boxes]) if (tensor) this.engine.free(tensor);
    this.received = null;
  }
}

function filled<Data extends Float32Array | Uint32Array>(data: Data, size: number): Data {
  if (data.length === size) return data;
  const whole = new (data.constructor as new (length: number) => Data)(size);
  whole.set(data);
  return whole;
}
