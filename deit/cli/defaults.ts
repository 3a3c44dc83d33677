/** Defaults that the help shows and that commands apply: whether an option was given has to be seen by them. */

/** The recipe of a command that was given none. */
export const DEFAULT_RECIPE = 'quick-demo';
