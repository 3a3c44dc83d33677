/**
 * What the tests of MPI run on every rank: all collectives of the communicator, on values that say which rank they come
 * from. Prints one line of JSON.
 */
import { anyRank, gatherTexts, shareValue } from '../../deit/parallel/communicator.ts';
import { openRanks } from '../../deit/parallel/node/ranks.ts';

const ranks = await openRanks();
const { rank, size } = ranks;
// Longer than one piece of a reduction, and not by a whole number of pieces.
const long = new Float32Array(600_001).map((_, i) => rank + (i % 7));
await ranks.sum(long);
const doubles = Float64Array.of(rank, -rank, 2 ** -40 * (rank + 1));
await ranks.sum(doubles);
const largest = Float32Array.of(rank, -rank);
await ranks.max(largest);
const shared = new Uint8Array(5_000_000).fill(rank === 1 ? 42 : 0);
await ranks.broadcast(shared, 1);
const all = new Uint8Array(2 * size);
await ranks.allGather(Uint8Array.of(rank, 10 * rank), all);
const received = new Uint8Array(size);
await ranks.allToAll(
  Uint8Array.from({ length: size }, (_, to) => 16 * rank + to),
  received,
);
// Calls that are not awaited one by one keep their order.
const queued = await Promise.all([gatherTexts(ranks, 'x'.repeat(rank)), anyRank(ranks, rank === 1), ranks.barrier()]);
const value = await shareValue(ranks, rank === 0 ? { from: 'rank 0' } : null);
console.log(
  JSON.stringify({
    rank,
    size,
    local: [ranks.localRank, ranks.localSize],
    long: [...long.subarray(0, 8), long[600_000]],
    doubles: [...doubles],
    largest: [...largest],
    shared: shared.every((byte) => byte === 42),
    all: [...all],
    received: [...received],
    texts: queued[0],
    any: queued[1],
    value,
    waited: ranks.time.waiting > 0 && ranks.time.moving > 0,
  }),
);
await ranks.close();
