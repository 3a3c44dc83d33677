/** Node only. Training that outlives its GPU device. */
import { DeitError } from '../../../engine/index.ts';
import { listCheckpoints } from './run-state.ts';

/** Losses in a row, without a checkpoint between them, after which it is given up. */
const MOST_LOSSES = 3;

/**
 * Calls `train`, and again with `resume` set whenever the device was lost, so that it goes on from the last checkpoint in
 * the folder (or begins again where there is none yet) on a new device. `say` hears of every loss.
 */
export async function outliveDevices<Result>(
  folder: string,
  say: (line: string) => void,
  resume: boolean,
  train: (resume: boolean) => Promise<Result>,
): Promise<Result> {
  let losses = 0;
  let reached: string | undefined;
  for (;;) {
    try {
      return await train(resume);
    } catch (error) {
      if (!(error instanceof DeitError) || error.code !== 'device-lost') throw error;
      const newest = (await listCheckpoints(folder))[0]?.path;
      losses = newest === reached ? losses + 1 : 1;
      reached = newest;
      if (losses > MOST_LOSSES) throw error;
      say(`the GPU device was lost (${error.details.found ?? 'no reason given'}); going on with a new one`);
      resume = true;
    }
  }
}
