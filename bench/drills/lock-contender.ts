/** One process of the drill `lock`: takes and releases folders as it is told. */
import { DeitError } from '../../engine/index.ts';
import { lockFolder } from '../../deit/train/node/lock.ts';
import type { Answer, Told } from './lock.ts';

let release = (): void => undefined;

process.on('message', ({ order, folder }: Told) => {
  process.send!(order === 'take' ? take(folder) : letGo());
});

function take(folder: string): Answer {
  try {
    release = lockFolder(folder);
    return 'owner';
  } catch (error) {
    if (error instanceof DeitError) return 'refused';
    throw error;
  }
}

function letGo(): Answer {
  release();
  return 'released';
}
