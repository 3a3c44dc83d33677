/** What becomes of a command when nobody reads its output any more: the other end of a pipe, or the terminal, has gone. */

/** 128 + SIGPIPE, as a shell reports a program that such a pipe has ended. */
const BROKEN_PIPE = 141;
const GONE = new Set(['EPIPE', 'EIO', 'ECONNRESET', 'ERR_STREAM_DESTROYED']);

let outlives = false;

/** From here on the command goes on without readers: what it makes is in files. */
export const outliveReaders = (): void => void (outlives = true);

/** Ends the process quietly when its output has no reader any more, unless it is to outlive that. */
export function watchOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (GONE.has(error.code ?? '')) {
        if (!outlives) process.exit(BROKEN_PIPE);
        return;
      }
      // A full disk, for example. Where standard error has the fault, nobody can be told.
      if (stream === process.stdout) process.stderr.write(`standard output cannot be written: ${error.message}\n`);
      process.exitCode = 1;
      if (!outlives) process.exit(1);
    });
  }
}
