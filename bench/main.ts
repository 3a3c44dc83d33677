/**
 * `npm run bench [filter]` measures kernels and models; `npm run bench -- --peers [libraries] [cases]` compares with other
 * libraries on the same adapter; `npm run bench -- --peers-tables FILE` shows and draws a comparison that was written;
 * `npm run bench -- --data FOLDER` measures the data pipeline, `npm run bench -- --data-memory FOLDER` its memory.
 * `npm run bench -- --ranks [batch sizes]` measures several ranks against one process, in about ten minutes; `--ranks-model` prints what a
 * cluster would come to. `npm run bench -- --isa [KERNEL] [--cards NAMES]` shows what GPU compilers make of the kernels.
 */
const [first, ...rest] = process.argv.slice(2);
if (first === '--peers') {
  const { comparePeers } = await import('./peers/compare.ts');
  await comparePeers(rest);
} else if (first === '--peers-tables') {
  const { showComparison } = await import('./peers/compare.ts');
  showComparison(rest[0]);
} else if (first === '--data') {
  const { benchData } = await import('./data/main.ts');
  await benchData(rest);
} else if (first === '--data-memory') {
  const { benchDataMemory } = await import('./data/memory.ts');
  await benchDataMemory(rest);
} else if (first === '--ranks') {
  const { measureRanks } = await import('./ranks/measure.ts');
  await measureRanks(rest);
} else if (first === '--isa') {
  const { isa } = await import('./isa/main.ts');
  await isa(rest);
} else if (first === '--ranks-model') {
  const { printModel } = await import('./ranks/model.ts');
  printModel();
} else {
  const { benchKernelsAndModels } = await import('./kernels-and-models.ts');
  await benchKernelsAndModels(first);
}
