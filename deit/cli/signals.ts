import { constants } from 'node:os';
import { basename } from 'node:path';
import { tell } from './progress.ts';

/** What was caught; `exitCode` is what a shell reports of a program that the signal ends: 128 + its number. */
export interface Caught {
  exitCode: number;
  release(): void;
}

/**
 * Ctrl-C, SIGTERM, SIGUSR2 (which launchers pass on to all ranks, and schedulers send ahead of the end) and the end of the
 * terminal (SIGHUP) end a training after the step under way. A second Ctrl-C or SIGTERM ends the process at once; hangups
 * come in twos, from the shell and from the system, and never do. `quiet` says nothing, where others speak: a launcher also
 * ends by SIGTERM what is left of a run that has failed.
 */
export function onSignals(stop: AbortController, { quiet = false } = {}): Caught {
  const caught: Caught = { exitCode: 0, release: () => undefined };
  const listen = (name: NodeJS.Signals, exitCode: number, isUrgent: boolean): (() => void) => {
    const listener = (): void => {
      if (stop.signal.aborted) {
        if (isUrgent) process.exit(exitCode);
        return;
      }
      if (name === 'SIGHUP' && isUnderNohup()) return;
      caught.exitCode = exitCode;
      if (!quiet) tell('\nfinishing the step and saving; once more to end at once');
      stop.abort();
    };
    process.on(name, listener);
    return () => process.off(name, listener);
  };
  const releases = [listen('SIGINT', 130, true), listen('SIGTERM', 143, true), listen('SIGHUP', 129, false)];
  // Windows has no such signal.
  const user = constants.signals.SIGUSR2 as number | undefined;
  if (user !== undefined) releases.push(listen('SIGUSR2', 128 + user, false));
  caught.release = () => releases.forEach((release) => release());
  return caught;
}

/** Node puts signals that its parent had ignored back to their defaults, so what `nohup` asked for is done here. */
const isUnderNohup = (): boolean => basename(process.env._ ?? '') === 'nohup';
