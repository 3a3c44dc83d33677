/**
 * Fifty optimizer steps of small models against the same loop in PyTorch: test/golden/training.*. The run of full
 * DeiT-Ti takes minutes on a software adapter: `npm run curves` does it with the others and draws the curves.
 */
import { describe, expect, it } from 'vitest';
import { useEngine } from '../support/engine.ts';
import { compareRun, goldenRuns, trainGolden } from '../support/golden-training.ts';
import type { Comparison } from '../support/golden-training.ts';

const engine = useEngine();
const runs = goldenRuns.filter(({ final }) => final === 'full');

const tooFar = (comparisons: readonly Comparison[]): Comparison[] =>
  comparisons.filter(({ error, allowed }) => !(error <= allowed));

describe('fifty steps are those of PyTorch', () => {
  it.each(runs)('$key', async (run) => {
    const trained = await trainGolden(engine(), run);
    const { losses, state } = compareRun(run, trained);
    expect(losses).toHaveLength(50);
    expect(tooFar(losses)).toEqual([]);
    expect(tooFar(state)).toEqual([]);
    // Before any step there is nothing to drift: a forward pass in f32, the loss a mean of a few numbers.
    expect(losses[0].error).toBeLessThan(2e-6);
    // Without distillation the second head has no gradient and is left alone.
    const moved = (name: string): boolean => run.kind !== 'none' || !name.startsWith('head_dist.');
    expect(new Set(trained.noDecay)).toEqual(new Set(run.noDecay.filter(moved)));
    // The run is worth comparing: it learns.
    expect(trained.losses[49]).toBeLessThan(0.8 * trained.losses[0]);
  });
});

describe('a recorded step', () => {
  const few = runs.filter(({ key }) => ['deit_soft_batchmean_mixed', 'deit_hard', 'regnety'].includes(key));

  it.each(few)('gives the very bits of a step that is recorded anew: $key', async (run) => {
    const [replayed, anew] = [
      await trainGolden(engine(), run, { steps: 6 }),
      await trainGolden(engine(), run, { steps: 6, replay: false }),
    ];
    expect(replayed.losses).toEqual(anew.losses);
    expect(replayed.state.size).toBeGreaterThan(0);
    for (const [name, { data }] of replayed.state) expect(data, name).toEqual(anew.state.get(name)!.data);
  });
});
