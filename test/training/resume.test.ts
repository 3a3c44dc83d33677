import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cutMetrics } from '../../deit/train/node/resume.ts';
import { RunFolder } from '../../deit/train/node/run-folder.ts';
import type { ReadCheckpoint } from '../../deit/train/node/run-state.ts';

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'deit-resume-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Lines as a run writes them: steps, and after some of them an evaluation, which bears the number of its step. */
const LINES = [
  'teacher 1',
  'teacher 2',
  'teacher 2 evaluated',
  'teacher 3',
  'student 1',
  'student 2',
  'student 2 evaluated',
  'student 3',
  'student 4',
];

/** What is left of these lines when a run goes on from a checkpoint. */
function left(checkpoint: readonly [role: 'teacher' | 'student', step: number] | null): string[] {
  const path = mkdtempSync(join(root, 'run-'));
  const folder = RunFolder.create('run', path);
  for (const what of LINES) {
    const [role, step] = what.split(' ');
    folder.appendMetrics({ role, step: Number(step), what });
  }
  cutMetrics(
    folder,
    checkpoint && ({ position: { role: checkpoint[0], step: checkpoint[1], steps: 9, seconds: 1 } } as ReadCheckpoint),
  );
  folder.close();
  const lines = readFileSync(join(path, 'metrics.jsonl'), 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => (JSON.parse(line) as { what: string }).what);
}

describe('the metrics of a run that goes on', () => {
  it('reach to the step of the checkpoint, its evaluation included, so that the curves have no hole', () => {
    expect(left(['student', 2])).toEqual(LINES.slice(0, 7));
    expect(left(['student', 3])).toEqual(LINES.slice(0, 8));
    expect(left(['student', 4])).toEqual(LINES);
    // The teacher was done before the student began.
    expect(left(['student', 0])).toEqual(LINES.slice(0, 4));
  });

  it('have nothing of the student where its teacher goes on', () => {
    expect(left(['teacher', 2])).toEqual(LINES.slice(0, 3));
    expect(left(['teacher', 3])).toEqual(LINES.slice(0, 4));
  });

  it('are none where there is no checkpoint', () => {
    expect(left(null)).toEqual([]);
  });
});
