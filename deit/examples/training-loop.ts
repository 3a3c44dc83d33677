/**
 * A training loop of one's own: a small DeiT on the part of CIFAR-10 that ships with the package.
 * Run it: npx tsx deit/examples/training-loop.ts [steps]
 */
import { createEngine, crossEntropy } from '../../engine/node.ts';
import { AdamW, decayGroups, learningRate } from '../../nn/index.ts';
import {
  DataLoader,
  Evaluator,
  createModel,
  evaluationPipeline,
  openData,
  sampleName,
  trainingPipeline,
} from '../node.ts';

const STEPS = Number(process.argv[2] ?? 100);
const BATCH = 32;

const engine = await createEngine({ seed: 0 });
const { train, val } = await openData(sampleName);
const options = { seed: 0, workers: 0, batchSize: BATCH };
const pipeline = trainingPipeline({ imageSize: 32, crop: 'padded', autoAugment: null, erasing: null });
const loader = new DataLoader({ ...options, dataset: train, pipeline, shuffle: true, dropLast: true });

const spec = 'deit_tiny_patch16_224 img_size=32 patch_size=8 embed_dim=96 depth=3 num_heads=3 num_classes=10';
const model = createModel(engine, spec);
const optimizer = new AdamW(decayGroups(model.namedParameters(), 0.05));
const schedule = { base: 1e-3, epochs: STEPS / loader.batchesPerEpoch, warmupEpochs: 0.1 };

// What changes from step to step lies in tensors that are kept.
const images = engine.empty([BATCH, 3, 32, 32]).keep();
const labels = engine.empty([BATCH], 'i32').keep();
const losses: number[] = [];
for (let epoch = 0; losses.length < STEPS; epoch++) {
  for await (const batch of loader.epoch(epoch)) {
    engine.setStep(losses.length);
    images.write(batch.images);
    labels.write(batch.labels);
    optimizer.prepareStep(learningRate(schedule, losses.length, loader.batchesPerEpoch));
    const loss = engine.scope(() => {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.heads(images).cls, labels, { labelSmoothing: 0.1 });
      loss.backward();
      optimizer.step();
      return loss.read();
    });
    losses.push((await loss)[0]);
    if (losses.length === STEPS) break;
  }
}

const heldOut = evaluationPipeline({ imageSize: 32, cropPct: 1 });
const batches = new DataLoader({ ...options, dataset: val, pipeline: heldOut, shuffle: false, dropLast: false });
const accuracy = await new Evaluator(engine, model.eval(), batches, 32).run();
console.log(JSON.stringify({ losses, accuracy: accuracy.class, images: accuracy.images }));
engine.close();
