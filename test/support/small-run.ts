import type { Overrides } from '../../deit/node.ts';

/** What makes a training run small enough for a software adapter. */
export const SMALL_RUN: Overrides = {
  'data.batchSize': 16,
  'data.workers': 0,
  'augment.policy': null,
  'augment.repeats': 1,
  'optim.lr': 2e-3,
  'optim.scaleLr': false,
  'schedule.per': 'step',
  'schedule.warmupEpochs': 0.05,
};
