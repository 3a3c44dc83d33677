/**
 * What a test of MPI runs on every rank: grows the C heap until it meets what Node has placed behind it, opens MPI, and
 * says whether the last page of the heap is still there. Prints one line of JSON.
 */
import koffi from 'koffi';
import { openRanks } from '../../deit/parallel/node/ranks.ts';

const PAGE = 4096;
const libc = koffi.load('libc.so.6');
const sbrk = libc.func('sbrk', 'intptr_t', ['intptr_t']) as (bytes: number) => number;

for (let step = PAGE * 2 ** 14; step >= PAGE; step /= 2) while (sbrk(step) !== -1);
const end = sbrk(0);
const ranks = await openRanks();
console.log(JSON.stringify({ rank: ranks.rank, size: ranks.size, whole: sbrk(0) >= end }));
await ranks.close();
