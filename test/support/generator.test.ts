import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { bits, integers, seed, sketch, weight } from './generator.ts';

interface Golden {
  seeds: Record<string, number>;
  bits: Record<string, number[]>;
  tail: { name: string; index: number; bits: number };
  integers: { name: string; below: number; values: number[] };
  weights: { name: string; shape: number[]; float32: string[] }[];
  sketch: { norm: number; projections: number[]; elements: number[] };
}

const golden = JSON.parse(readFileSync(new URL('../golden/generator.json', import.meta.url), 'utf8')) as Golden;

// The other side is numpy: see test/golden/generator.py. All but the sums of the sketch must agree to the bit.
describe('the golden generator', () => {
  it('hashes names as Python does', () => {
    for (const [name, value] of Object.entries(golden.seeds)) expect(seed(name)).toBe(value);
  });

  it('draws the same bits, also far into a tensor', () => {
    for (const [name, values] of Object.entries(golden.bits)) {
      expect(values.map((_, j) => bits(seed(name), j))).toEqual(values);
    }
    expect(bits(seed(golden.tail.name), golden.tail.index)).toBe(golden.tail.bits);
  });

  it('draws the same integers', () => {
    const { name, below, values } = golden.integers;
    expect([...integers(name, values.length, below)]).toEqual(values);
  });

  it.each(golden.weights)('draws $name with the same float32 bits', ({ name, shape, float32 }) => {
    const patterns = new Uint32Array(weight(name, shape).buffer);
    expect([...patterns].map((word) => word.toString(16).padStart(8, '0'))).toEqual(float32);
  });

  it('knows no rule for an unknown name', () => {
    expect(() => weight('mystery', [2])).toThrow(/mystery/);
  });

  it('sketches a tensor alike', () => {
    const ramp = Float64Array.from({ length: 1000 }, (_, i) => i / 1000 - 0.25);
    const { norm, projections, elements } = sketch('ramp', ramp);
    // Sums of 1000 float64 values in another order than numpy's: a few units of 1e-16 times their size.
    expect(norm).toBeCloseTo(golden.sketch.norm, 11);
    golden.sketch.projections.forEach((value, p) => expect(projections[p]).toBeCloseTo(value, 11));
    expect([...elements]).toEqual(golden.sketch.elements);
  });
});
