import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { bundled } from '../../bench/bundled.ts';

/** Runs a program of deit/examples and returns what it prints. */
async function run(name: string, ...args: string[]): Promise<Record<string, number[]>> {
  const command = [await bundled(`deit/examples/${name}.ts`), ...args];
  const { stdout } = await promisify(execFile)(process.execPath, command, { timeout: 110_000 });
  return JSON.parse(stdout) as Record<string, number[]>;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
/** The loss of a model that knows nothing of ten classes. */
const IGNORANCE = Math.log(10);

describe('examples', () => {
  it('operator: squared ReLU and its gradient', async () => {
    expect(await run('operator')).toEqual({ y: [0, 0, 0.25, 9], dx: [0, 0, 1, 6] });
  });

  it('training loop: the loss falls below that of ignorance', async () => {
    const { losses, images } = await run('training-loop', '12');
    expect(losses).toHaveLength(12);
    expect(mean(losses.slice(-4))).toBeLessThan(IGNORANCE);
    expect(images).toBe(500);
  });

  it('custom student: learns from a teacher that was trained before', async () => {
    const { parameters, teacherLosses, studentLosses } = await run('custom-student', '12');
    // Three convolutions of 3 x 3, their norms, and the head with its bias.
    expect(parameters).toBe(9 * (3 * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + 64 * 10 + 10);
    expect([teacherLosses.length, studentLosses.length]).toEqual([12, 12]);
    expect(mean(studentLosses.slice(-4))).toBeLessThan(IGNORANCE);
  });

  it('photos: names and vectors of the files that it is given', async () => {
    const { answers, vectors } = await run('photos', 'deit/report/report.png');
    const [[best]] = answers as unknown as { name: string; probability: number }[][];
    // A screenshot of a report: ImageNet has a class for it.
    expect(best.name).toBe('website');
    expect(vectors.map((vector) => (vector as unknown as number[]).length)).toEqual([192]);
  });

  it("custom run: a student and a teacher of one's own, with all files of a run", async () => {
    const folder = mkdtempSync(join(tmpdir(), 'deit-custom-'));
    const result = await run('custom-run', join(folder, 'run'), '4');
    expect(result.steps).toBe(4);
    expect(readdirSync(join(folder, 'run'))).toEqual(
      expect.arrayContaining(['metrics.jsonl', 'result.json', 'student.safetensors', 'teacher.safetensors']),
    );
    rmSync(folder, { recursive: true });
  });
});
