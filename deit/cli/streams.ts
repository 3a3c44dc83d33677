/** A command's output: what reaches a terminal, and what becomes of the command when nobody reads any more. */

/** 128 + SIGPIPE, as a shell reports a program that such a pipe has ended. */
const BROKEN_PIPE = 141;
const ESCAPE = '\u001b';
const GONE = new Set(['EPIPE', 'EIO', 'ECONNRESET', 'ERR_STREAM_DESTROYED']);

let outlives = false;

/** From here on the command goes on without readers: what it makes is in files. */
export const outliveReaders = (): void => void (outlives = true);

/**
 * A text for the terminal: control characters are shown as `\x07`, but for line ends, tabs and the sequences that set colours
 * and move the cursor. Names of files and classes are whatever their author likes, and others reach the clipboard and the title.
 */
export const printable = (text: string): string =>
  text.replace(/\p{Cc}(\[[\d;?]*[A-Za-z])?/gu, (found, sequence: string | undefined) => {
    const isMeant = '\n\r\t'.includes(found[0]) || (found[0] === ESCAPE && sequence !== undefined);
    return isMeant ? found : `\\x${found.charCodeAt(0).toString(16).padStart(2, '0')}${sequence ?? ''}`;
  });

/** What a command writes to a terminal goes through `printable`. */
export function guardTerminal(stream: NodeJS.WriteStream): void {
  if (!stream.isTTY) return;
  const write = stream.write.bind(stream) as (chunk: unknown, ...rest: unknown[]) => boolean;
  stream.write = (chunk: unknown, ...rest: unknown[]) =>
    write(typeof chunk === 'string' ? printable(chunk) : chunk, ...rest);
}

/** Ends the process quietly when its output has no reader any more, unless it is to outlive that. */
export function watchOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    guardTerminal(stream);
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
