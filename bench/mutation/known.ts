/**
 * Changes that the tests of a whole once did not notice, with the test beside the code that notices each now: who is in which mode,
 * who is keyed by what, what is made durable, which figures are reported. `npm run mutate -- --known` tries them all.
 */
export interface KnownMutation {
  readonly name: string;
  readonly file: string;
  /** A text that is in the file once. */
  readonly from: string;
  readonly to: string;
  readonly test: string;
  /** Full name of the test that fails. */
  readonly by: string;
}

const TRAINING = 'test/training/training.test.ts';
const ATOMIC = 'test/engine/atomic-file.test.ts';
const DURABLE = 'is on the disk before it has its name, and the name before the writing is over';

export const KNOWN: readonly KnownMutation[] = [
  {
    name: 'the teacher stays in training mode',
    file: 'deit/train/node/run-models.ts',
    from: 'requiresGrad_(false).eval();',
    to: 'requiresGrad_(false);',
    test: TRAINING,
    by: 'training lowers the loss of both heads',
  },
  {
    name: "the clipping threshold ignores gradient accumulation's scale",
    file: 'nn/optim/optimizer.ts',
    from: '(maxNorm ?? 0) / gradientScale;',
    to: 'maxNorm ?? 0;',
    test: 'test/nn/nn.test.ts',
    by: 'optimizers scales gradients before it clips them, and reports the norm before both',
  },
  {
    name: 'the gradient norm is not averaged over micro-batches',
    file: 'deit/train/step.ts',
    from: "gradNorm: mean('norm')",
    to: "gradNorm: at('norm')",
    test: TRAINING,
    by: 'a training step with accumulation equals the step on the whole batch up to rounding, in its figures too',
  },
  {
    name: 'mixup and cutmix draw the same in every epoch',
    file: 'deit/data/mixing.ts',
    from: 'Purpose.mix, epoch, batch)',
    to: 'Purpose.mix, 0, batch)',
    test: 'test/data/sampling.test.ts',
    by: 'mixing has draws of its own in each epoch and batch, which are neither those of the shuffle nor of samples',
  },
  {
    name: "mixup and cutmix draw the same in every epoch, in the step's batches",
    file: 'deit/train/step.ts',
    from: 'mixStream(engine.seed, epoch, number)',
    to: 'mixStream(engine.seed, 0, number)',
    test: TRAINING,
    by: 'a training step mixes its images anew in each epoch and in each batch of it',
  },
  {
    name: "mixup and cutmix draw by the shuffle's key",
    file: 'deit/data/mixing.ts',
    from: 'Purpose.mix, epoch, batch)',
    to: 'Purpose.shuffle, epoch, batch)',
    test: 'test/data/sampling.test.ts',
    by: 'mixing has draws of its own in each epoch and batch, which are neither those of the shuffle nor of samples',
  },
  {
    name: "erasing's area is not divided by the count",
    file: 'deit/data/random-erasing.ts',
    from: 'width * height) / erasing.count;',
    to: 'width * height);',
    test: 'test/data/augment.test.ts',
    by: 'random erasing divides the area between the boxes, as timm',
  },
  {
    name: 'the distillation head trains without a teacher',
    file: 'deit/train/setup.ts',
    from: "if (isIdle && name.startsWith('head_dist')) return false;",
    to: '',
    test: TRAINING,
    by: 'a training step without a teacher leaves the distillation head as it is, decay and all',
  },
  {
    name: 'no flush of the checkpoint file',
    file: 'engine/node/atomic-file.ts',
    from: 'await file.sync();',
    to: '',
    test: ATOMIC,
    by: DURABLE,
  },
  {
    name: "no flush of the checkpoint's folder",
    file: 'engine/node/atomic-file.ts',
    from: 'await syncFolder(dirname(path));',
    to: '',
    test: ATOMIC,
    by: DURABLE,
  },
  {
    name: 'one checkpoint fewer is kept than asked',
    file: 'deit/train/node/run-state.ts',
    from: 'position.role).slice(keep)',
    to: 'position.role).slice(keep - 1)',
    test: 'test/training/run-state.test.ts',
    by: 'checkpoints are kept in the number asked for, of each role',
  },
  {
    name: 'resume drops the last line of metrics',
    file: 'deit/train/node/resume.ts',
    from: 'Number(line.step) <= step',
    to: 'Number(line.step) < step',
    test: 'test/training/resume.test.ts',
    by: 'the metrics of a run that goes on reach to the step of the checkpoint, its evaluation included, so that the curves have no hole',
  },
];
