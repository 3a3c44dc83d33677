/** Looks at a trained model for its report: answers on held-out images, samples, tokens, attention. Browser-safe. */
import type { Engine } from '../../engine/index.ts';
import { imagenetNormalization, resize } from '../data/index.ts';
import type { RgbImage } from '../data/index.ts';
import { ForwardPass } from '../forward-pass.ts';
import { argmaxRows, averageLogits, probabilities } from '../logits.ts';
import type { Classifier } from '../models/classifier.ts';
import { VisionTransformer } from '../models/deit.ts';
import { imageName, imagesOf } from '../train/batches.ts';
import type { Batch, BatchSource } from '../train/batches.ts';
import type { AttentionPictures, ModelAnalysis, PictureUrl, Sample } from './analysis.ts';
import { confusion, cosine, disagreement, topConfusions } from './answers.ts';
import type { Answers } from './answers.ts';
import { attentionMaps } from './attention.ts';
import type { AttentionMaps } from './attention.ts';
import { overlay, tile } from './heat.ts';

export interface AnalysisOptions {
  readonly engine: Engine;
  readonly student: Classifier;
  readonly teacher: Classifier | null;
  /** Held-out images, prepared for evaluation. */
  readonly source: BatchSource;
  readonly classes: readonly string[];
  readonly imageSize: number;
  readonly encode: (picture: RgbImage) => Promise<PictureUrl>;
}

/** More classes than this make no readable matrix. */
const MOST_CLASSES = 40;
const SAMPLES = 16;
const MISTAKES = 8;
const COSINE_IMAGES = 32;
/** Classes of which an image is shown with its attention: one image each. */
const ATTENTION_IMAGES = 20;
/** Smaller pictures are enlarged to about this for attention maps, those of more than twice the size are reduced. */
const MAP_PIXELS = 96;

/** A sample that may still be displaced by a more telling one. */
interface Candidate {
  readonly name: string;
  readonly pixels: Float32Array;
  readonly truth: number;
  readonly predictions: Sample['predictions'];
  readonly certainty: number;
}

/**
 * Runs every predictor over the held-out images, and gives what it answered, image by image, beside what a report shows. Models
 * are left in evaluation mode.
 */
export async function analyzeModel(options: AnalysisOptions): Promise<{ model: ModelAnalysis; answers: Answers }> {
  const { engine, student, teacher, source, classes, imageSize, encode } = options;
  student.eval();
  const predictors = [
    ...(teacher ? ['teacher'] : []),
    'class',
    ...(student.distilled ? ['distillation', 'average'] : []),
  ];
  const given: number[][] = [[], ...predictors.map(() => [])];
  const samples: Candidate[] = [];
  const mistakes: Candidate[] = [];
  /** The first image of each class. */
  const firsts = new Map<number, Candidate>();
  let tokenCosine: number[] | null = null;
  let images = 0;
  const passes = (teacher ? [teacher, student] : [student]).map(
    (model) => new ForwardPass(engine, model, source.batchSize, imageSize),
  );
  for await (const batch of source.epoch(0)) {
    const nameOf = (row: number): string => imageName(source, batch, row);
    const heads = await Promise.all(passes.map((pass) => pass.run(imagesOf(batch), nameOf)));
    const own = heads[heads.length - 1];
    const logits = [...(teacher ? [heads[0].cls] : []), own.cls, ...(own.dist ? [own.dist, averageLogits(own)] : [])];
    // One by one: a batch may hold more than a call takes arguments.
    logits.forEach((values, p) => argmaxRows(values, classes.length).forEach((answer) => given[p + 1].push(answer)));
    for (let row = 0; row < batch.size; row++) given[0].push(batch.labels[row]);
    tokenCosine ??= await cosineByLayer(engine, student, batch, imageSize);
    // Samples are spread evenly over the batches.
    const wanted = Math.ceil((SAMPLES * (batch.number + 1)) / source.batchesPerEpoch);
    for (let row = 0; row < batch.size; row++) {
      const answer = given[predictors.length][images + row];
      const candidate = (): Candidate => ({
        name: nameOf(row),
        ...candidateOf(batch, row, predictors, logits, classes.length, imageSize),
      });
      if (samples.length < Math.min(wanted, SAMPLES)) samples.push(candidate());
      if (answer !== batch.labels[row]) keepMostCertain(mistakes, candidate());
      const label = batch.labels[row];
      if (firsts.size < ATTENTION_IMAGES && !firsts.has(label)) firsts.set(label, candidate());
    }
    images += batch.size;
  }
  for (const pass of passes) pass.release();
  const answers: Answers = { names: ['truth', ...predictors], classes: classes.length, given };
  const toSample =
    (mistake: boolean) =>
    async ({ name, pixels, truth, predictions }: Candidate): Promise<Sample> => ({
      name,
      truth,
      predictions,
      mistake,
      picture: await encode(toPicture(pixels, imageSize)),
    });
  const attention: AttentionPictures[] = [];
  if (student instanceof VisionTransformer && student.config.depth > 0) {
    for (const { pixels, truth } of [...firsts.values()].sort((a, b) => a.truth - b.truth)) {
      const maps = await attentionMaps(engine, student, pixels);
      attention.push(await drawAttention(maps, toPicture(pixels, imageSize), truth, encode));
    }
  }
  const apart = disagreement(answers);
  // Nothing is shown twice.
  const others = samples.filter((sample) => !mistakes.some(({ name }) => name === sample.name));
  const model = {
    classes,
    images,
    names: answers.names,
    accuracy: apart[0].map((share) => 1 - share),
    disagreement: apart,
    confusion: classes.length <= MOST_CLASSES ? confusion(answers, predictors.length) : null,
    topConfusions: topConfusions(answers, predictors.length),
    tokenCosine,
    samples: await Promise.all([...others.map(toSample(false)), ...mistakes.map(toSample(true))]),
    attention,
  };
  return { model, answers };
}

async function cosineByLayer(
  engine: Engine,
  student: Classifier,
  { images, size }: Batch,
  imageSize: number,
): Promise<number[] | null> {
  if (!(student instanceof VisionTransformer) || !student.distilled) return null;
  const used = Math.min(size, COSINE_IMAGES);
  const pixels = images.subarray(0, used * 3 * imageSize * imageSize);
  const layers = await Promise.all(
    engine.scope(() =>
      engine.noGrad(() => {
        const { tokens } = student.inspect(engine.tensor(pixels, [used, 3, imageSize, imageSize]));
        return tokens.map((token) => token.read());
      }),
    ),
  );
  const { width } = student.config;
  return layers.map((tokens) => {
    let sum = 0;
    for (let image = 0; image < used; image++) sum += cosine(tokens, 2 * image, 2 * image + 1, width);
    return sum / used;
  });
}

function candidateOf(
  batch: Batch,
  row: number,
  predictors: readonly string[],
  logits: readonly Float32Array[],
  classes: number,
  imageSize: number,
): Omit<Candidate, 'name'> {
  const predictions = predictors.map((predictor, p) => {
    const shares = probabilities(logits[p], row, classes);
    const [answer] = argmaxRows(shares, classes);
    return { predictor, answer, probability: shares[answer] };
  });
  const pixels = 3 * imageSize * imageSize;
  return {
    pixels: batch.images.slice(row * pixels, (row + 1) * pixels),
    truth: batch.labels[row],
    predictions,
    certainty: predictions[predictions.length - 1].probability,
  };
}

function keepMostCertain(list: Candidate[], candidate: Candidate): void {
  list.push(candidate);
  list.sort((a, b) => b.certainty - a.certainty);
  list.length = Math.min(list.length, MISTAKES);
}

/** The picture that a model sees, from its normalised planes. */
export function toPicture(planes: ArrayLike<number>, size: number): RgbImage {
  const { mean, std } = imagenetNormalization;
  const data = new Uint8Array(3 * size * size);
  for (let i = 0; i < size * size; i++) {
    for (let c = 0; c < 3; c++) {
      const value = 255 * (planes[c * size * size + i] * std[c] + mean[c]);
      data[3 * i + c] = Math.min(255, Math.max(0, Math.round(value)));
    }
  }
  return { width: size, height: size, data };
}

/** Maps as pictures: for each token its rollout, and all layers and heads in one. */
export async function drawAttention(
  maps: AttentionMaps,
  photo: RgbImage,
  truth: number | null,
  encode: AnalysisOptions['encode'],
): Promise<AttentionPictures> {
  const most = 2 * MAP_PIXELS;
  const enlarged = photo.width > most ? resize(photo, most, most, 'bicubic') : enlarge(photo, MAP_PIXELS);
  return {
    truth,
    picture: await encode(enlarged),
    tokens: await Promise.all(
      maps.tokens.map(async ({ token, layers, rollout }) => ({
        token,
        rollout: await encode(overlay(enlarged, rollout, maps.side)),
        layers: await encode(tile(layers.map((heads) => heads.map((map) => overlay(enlarged, map, maps.side))))),
        depth: layers.length,
        heads: layers[0]?.length ?? 0,
      })),
    ),
  };
}

/** Whole multiples of small pictures, so that pixels stay sharp. */
export function enlarge(picture: RgbImage, atLeast: number): RgbImage {
  const factor = Math.ceil(atLeast / Math.max(picture.width, picture.height));
  if (factor <= 1) return picture;
  const [width, height] = [picture.width * factor, picture.height * factor];
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 3 * (Math.floor(y / factor) * picture.width + Math.floor(x / factor));
      data.set(picture.data.subarray(from, from + 3), 3 * (y * width + x));
    }
  }
  return { width, height, data };
}
