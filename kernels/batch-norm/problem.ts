import type { ChannelShape } from '../lib/channels.ts';
import { require } from '../lib/kernel.ts';

export interface BatchNormProblem extends ChannelShape {
  readonly relu: boolean;
}

export interface BatchNormTrainingProblem extends BatchNormProblem {
  readonly momentum: number;
  readonly eps: number;
}

/** What backward is to give: dweight and dbias always, dx if asked for. */
export interface BatchNormBackwardProblem extends BatchNormProblem {
  readonly training: boolean;
  readonly inputGradient: boolean;
}

/** The problem itself, if there is a variance to be had. */
export function checkedTraining(problem: BatchNormTrainingProblem): BatchNormTrainingProblem {
  const values = problem.batch * problem.plane;
  require(values > 1, 'batch_norm', 'more than one value a channel in training', problem);
  return problem;
}
