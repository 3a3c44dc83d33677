import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readRun, writeReport } from '../../deit/report/node/run-files.ts';
import { RunFolder } from '../../deit/train/node/run-folder.ts';
import { recordSession } from '../../deit/train/node/sessions.ts';
import type { Session } from '../../deit/train/run-schemas.ts';

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'deit-sessions-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const adapter = (name: string, software = false): Session['adapter'] => ({
  ...{ name, vendor: 'v', architecture: 'a', description: 'driver 1', software, choice: 'auto', advice: null },
  features: ['subgroups'],
});
const at = (step: number): Pick<Session, 'role' | 'step'> => ({ role: 'student', step });

/** A run with these starts; returns its folder and what was said at each. */
async function started(...starts: [Pick<Session, 'role' | 'step'> | null, Session['adapter']][]) {
  const path = mkdtempSync(join(root, 'run-'));
  const folder = RunFolder.create('run', path);
  const said: string[] = [];
  for (const [position, own] of starts) {
    const lines: string[] = [];
    await recordSession(folder, position, own, (line) => lines.push(line));
    said.push(lines.join('\n'));
  }
  await folder.writeJson('config.json', { version: '9', command: ['train'], name: 'x', recipe: {} });
  folder.close();
  const parts = (await readRun(path)).sessions.map(({ role, step, adapter: own }) => `${own.name} ${role} ${step}`);
  return { path, said, parts };
}

describe('what a run was on', () => {
  it('is kept for every part and said where it changes; the report credits each', async () => {
    const { path, said, parts } = await started([null, adapter('one')], [at(500), adapter('two', true)]);
    expect(said[0]).toBe('');
    expect(said[1]).toContain('another adapter (two, v, a, driver 1 instead of one, v, a, driver 1)');
    expect(parts).toEqual(['one teacher 0', 'two student 500']);
    const html = readFileSync(await writeReport(path), 'utf8');
    expect(html).toMatch(/adapter at first<.*?>one, subgroups</s);
    expect(html).toMatch(/adapter from step 501 of the student<.*?>two \(software\), subgroups</s);
  });

  it('is one part where nothing changes', async () => {
    const { said, parts } = await started([null, adapter('one')], [at(10), adapter('one')], [at(20), adapter('one')]);
    expect([said, parts]).toEqual([['', '', ''], ['one teacher 0']]);
  });

  it('forgets parts whose steps are made again', async () => {
    const two = adapter('two');
    expect((await started([null, adapter('one')], [at(10), two], [at(10), adapter('one')])).parts).toEqual([
      'one teacher 0',
    ]);
    expect((await started([null, adapter('one')], [at(10), two], [null, two])).parts).toEqual(['two teacher 0']);
    const third = await started(
      [null, adapter('one')],
      [{ role: 'teacher', step: 900 }, two],
      [at(5), adapter('three')],
    );
    expect(third.parts).toEqual(['one teacher 0', 'two teacher 900', 'three student 5']);
  });

  it('says another driver and other versions, which older files do not have', async () => {
    const path = mkdtempSync(join(root, 'run-'));
    const folder = RunFolder.create('run', path);
    const said: string[] = [];
    const record = (own: Session['adapter']) => recordSession(folder, at(5), own, (line) => said.push(line));
    writeFileSync(join(path, 'adapter.json'), JSON.stringify(adapter('one')));
    await record({ ...adapter('one'), description: 'driver 2' });
    expect(said.pop()).toContain('another adapter (one, v, a, driver 2 instead of one, v, a, driver 1)');
    const versions = { webgpu: '0.0.1', node: process.versions.node };
    writeFileSync(join(path, 'adapter.json'), JSON.stringify([{ ...at(1), versions, adapter: adapter('one') }]));
    await record(adapter('one'));
    expect(said).toEqual([expect.stringMatching(/another version of webgpu \([\d.]+ instead of 0\.0\.1\): results/)]);
    folder.close();
  });
});
