/** Decoding and transforming a few samples: what a worker thread does, and the main thread where there are none. Node only. */
import { DeitError } from '../../../engine/index.ts';
import type { DecodedImage, FileRange, RgbImage } from '../dataset.ts';
import { BOX_WORDS } from '../../../engine/index.ts';
import { writeBoxes } from '../image-bytes.ts';
import type { LoadTimes } from '../load-times.ts';
import { makeByteTransform, mostBoxes } from '../pipeline.ts';
import type { ByteTransform, Pipeline } from '../pipeline.ts';
import { sampleStream } from '../sampler.ts';
import type { Sample } from '../sampler.ts';
import { cachedDecoder } from './cache.ts';
import type { CacheOptions } from './cache.ts';
import { readImageFile, withImage } from './decode.ts';
import { readRange } from './tar.ts';

/** Where the pixels of a sample come from: a file to decode, the bytes of one with a name for errors, or an image at hand. */
export type SampleSource =
  { path: string; range?: FileRange | undefined } | { bytes: Uint8Array; name: string } | { image: RgbImage };

/** Plain data, so that it can be sent to a thread. */
export interface ImageJob {
  seed: number;
  epoch: number;
  pipeline: Pipeline;
  /** Files must lie inside this folder. */
  root: string | undefined;
  cache: CacheOptions | undefined;
  samples: (Sample & SampleSource)[];
  /** Room for the result, that of an earlier one: new memory costs time. */
  room?: ArrayBuffer | undefined;
}

/** A sample that could not be read; `position` counts within the job. */
export interface ImageFailure {
  position: number;
  error: { code: DeitError['code']; message: string };
}

export interface ImageJobResult {
  /** As `ImageBytes` has them; zeros where a sample failed. */
  pixels: Uint8Array<ArrayBuffer>;
  boxes: Uint32Array<ArrayBuffer>;
  failures: ImageFailure[];
  /** What a reader of the results should know of how some samples were read. */
  notes: { position: number; note: string }[];
  times: Omit<LoadTimes, 'copy'>;
}

let transform: { key: string; apply: ByteTransform } | undefined;

function transformFor(pipeline: Pipeline): ByteTransform {
  const key = JSON.stringify(pipeline);
  if (transform?.key !== key) transform = { key, apply: makeByteTransform(pipeline) };
  return transform.apply;
}

/** Errors of the files themselves become failures; anything else is thrown. */
export async function runImageJob(job: ImageJob): Promise<ImageJobResult> {
  const apply = transformFor(job.pipeline);
  const { imageSize } = job.pipeline;
  const size = 3 * imageSize * imageSize;
  const length = job.samples.length * size;
  const isRoomy = job.room && job.room.byteLength >= length;
  const pixels = isRoomy ? new Uint8Array(job.room!, 0, length) : new Uint8Array(length);
  const perImage = mostBoxes(job.pipeline);
  const boxes = new Uint32Array(job.samples.length * perImage * BOX_WORDS);
  const failures: ImageFailure[] = [];
  const notes: ImageJobResult['notes'] = [];
  const decode = job.cache && cachedDecoder(job.cache);
  const watch = new StopWatch();
  for (const [position, sample] of job.samples.entries()) {
    const use = (image: DecodedImage): void => {
      watch.enter('augment');
      if (image.note !== undefined) notes.push({ position, note: image.note });
      const draws = sampleStream(job.seed, job.epoch, sample);
      writeBoxes(boxes, position * perImage, apply(watch.decoding(image), draws, pixels, position * size));
      watch.enter(null); // before others may run in this thread
    };
    try {
      if ('image' in sample) use(sample.image);
      else if ('bytes' in sample) {
        watch.enter('decode');
        await withImage(sample.bytes, sample.name, use);
      } else if (decode) {
        watch.enter('decode');
        use(await decode(sample.path, job.root, sample.range));
      } else {
        watch.enter('read');
        const bytes = sample.range ? readRange(sample.range, sample.path) : readImageFile(sample.path, job.root);
        watch.enter('decode');
        await withImage(bytes, sample.path, use);
      }
    } catch (error) {
      // A cache that cannot be written is not the image's fault.
      if (!(error instanceof DeitError) || error.code === 'file-unwritable') throw error;
      pixels.fill(0, position * size, (position + 1) * size);
      failures.push({ position, error: { code: error.code, message: error.message } });
    } finally {
      watch.enter(null);
    }
  }
  return { pixels, boxes, failures, notes, times: watch.seconds };
}

type Part = Exclude<keyof LoadTimes, 'copy'>;

/** Where a job spends its time. */
class StopWatch {
  readonly seconds: Record<Part, number> = { read: 0, decode: 0, augment: 0 };
  private part: Part | null = null;
  private since = 0;

  /** What is done from now on. */
  enter(part: Part | null): void {
    const now = performance.now();
    if (this.part) this.seconds[this.part] += (now - this.since) / 1000;
    [this.part, this.since] = [part, now];
  }

  /** The image, which may be decoded only when, and as far as, its pixels are asked for. */
  decoding(image: RgbImage): RgbImage {
    const during = <Result>(work: () => Result): Result => {
      const before = this.part;
      this.enter('decode');
      const result = work();
      this.enter(before);
      return result;
    };
    if (!image.part) return image;
    const { width, height } = image;
    return { width, height, get data() { return during(() => image.data); }, part: (rect) => during(() => image.part!(rect)) }; // prettier-ignore
  }
}
