/** What we use of a package that comes without types. */
declare module 'fs-native-extensions' {
  /** Whether this open file got the exclusive lock. Throws system errors, ENOTSUP for example. */
  export function tryLock(fd: number, offset?: number, length?: number): boolean;
}
