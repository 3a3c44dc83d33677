/** A word as a POSIX shell takes it: in quotes where it holds more than letters, digits and a few marks. Browser-safe. */
export const quoted = (word: string): string =>
  /^[\w./=:,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
