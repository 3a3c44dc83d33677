import { fuzzArguments } from './argument-lists.ts';
import type { DrillOptions } from './drill.ts';

const LISTS = 2000;

/** Changed argument lists of every command: each ends well or with a message, never with a stack trace, and soon. */
export async function argumentLists({ folder, count, seed }: DrillOptions): Promise<string> {
  const { lists, refused, commands } = await fuzzArguments(folder, count ?? LISTS, seed);
  return `${lists} argument lists of ${commands.size} commands, ${refused} refused, none ended with a stack trace`;
}
