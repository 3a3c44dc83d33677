import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/** A program in the folders that PATH names. */
export const onPath = (program: string): string | null =>
  (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find(existsSync) ?? null;

/** Where .ci/run puts Deno, Bun and naga; TOOLS_HOME names another folder. */
const tools =
  process.env.TOOLS_HOME ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'deit-webgpu/tools');

/** A program that the tests of other implementations of WebGPU need: on PATH, or where .ci/run put it. */
export const findTool = (name: 'deno' | 'bun' | 'naga'): string | null =>
  onPath(name) ?? [join(tools, 'bin', name), join(tools, 'node_modules/.bin', name)].find(existsSync) ?? null;
