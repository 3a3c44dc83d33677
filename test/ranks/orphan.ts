/**
 * What a test of MPI runs on every rank: writes its process number as the name of a file into a folder; rank 0 then kills what started
 * it, and all compute on without ever letting go of their thread. Writes one more file if it may do so to its end.
 *
 *     orphan.ts FOLDER
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openRanks } from '../../deit/parallel/node/ranks.ts';

/** Within which ranks have to end. */
const ENOUGH_MS = 10_000;

const ranks = await openRanks();
const file = join(process.argv[2], String(process.pid));
writeFileSync(file, '');
await ranks.barrier();
if (ranks.rank === 0) process.kill(process.ppid, 'SIGKILL');
for (const start = performance.now(); performance.now() - start < ENOUGH_MS;);
writeFileSync(`${file}.stayed`, '');
process.exit();
