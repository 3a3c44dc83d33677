/**
 * What a test of cards runs on every rank: takes its card of a machine, computes on it, and prints one line of JSON.
 *
 *     card.ts ROOT
 */
import { add } from '../../engine/index.ts';
import { createEngine } from '../../engine/node.ts';
import { takeCard } from '../../deit/parallel/node/cards.ts';
import { openRanks } from '../../deit/parallel/node/ranks.ts';

const ranks = await openRanks();
takeCard(ranks, process.argv[2]);
const engine = await createEngine();
const sum = await add(engine.tensor([1, 2]), engine.tensor([3, 4])).read();
console.log(JSON.stringify({ rank: ranks.rank, pid: process.pid, sum: [...sum] }));
engine.close();
await ranks.close();
