/**
 * `npm run bench -- --data-memory FOLDER`: resident memory of a process that loads training photos, after each of five epochs. FOLDER
 * is whatever `--data` takes: photos by class, tar shards, Parquet files.
 */
import { execFileSync } from 'node:child_process';
import { bundled } from '../bundled.ts';

/** Threads, and batches made ahead. */
const CASES = [
  [0, 2],
  [1, 2],
  [2, 2],
  [2, 6],
] as const;

export async function benchDataMemory([folder]: readonly string[]): Promise<void> {
  if (!folder) throw new Error('usage: npm run bench -- --data-memory FOLDER');
  const program = await bundled('bench/data/memory-run.ts');
  process.stdout.write('threads  batches ahead  MB after each epoch\n');
  for (const [threads, ahead] of CASES) {
    const resident = execFileSync(process.execPath, [program, folder, `${threads}`, `${ahead}`], { encoding: 'utf8' });
    process.stdout.write(`${String(threads).padEnd(9)}${(threads ? String(ahead) : '-').padEnd(15)}${resident}`);
  }
}
