/**
 * The compiler of Firefox and Deno, naga, judges every text of every operator on every device. Texts on subgroup matrices and
 * pinned subgroups are left out, since Dawn alone has these, and so is the line `enable subgroups;`, as the engine leaves it
 * out where the implementation refuses it.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { launchesOf, stepsOf } from '../../bench/isa/steps.ts';
import { ENABLE_SUBGROUPS } from '../../engine/gpu/pipeline-builder.ts';
import { deviceProfiles } from '../../kernels/lib/device-profiles.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import { findTool } from '../support/programs.ts';
import { rendered } from '../support/rendered.ts';

const naga = findTool('naga');
const title = naga ? 'naga' : 'NAGA IS NOT ASKED: it is not here (cargo install naga-cli --locked)';
const folder = mkdtempSync(join(tmpdir(), 'deit-naga-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Each text once, by what it is first met in. */
async function texts(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const add = (code: string, what: string): void => {
    if (/^enable (chromium_experimental_subgroup_matrix|subgroup_size_control);/m.test(code)) return;
    const text = code.replace(ENABLE_SUBGROUPS, '');
    if (!found.has(text)) found.set(text, what);
  };
  for (const [device, profile] of Object.entries<DeviceProfile>(deviceProfiles)) {
    for (const { what, launches } of rendered(profile))
      for (const { code } of launches) add(code, `${what} on ${device}`);
  }
  // As real models ask for them, with the sizes that choose the fast variants.
  for (const device of ['gpu', 'cpu'] as const) {
    const steps = await stepsOf(deviceProfiles[device], 2, ['DeiT-Ti']);
    for (const { name, code } of launchesOf(steps)) add(code, `${name} in a model on ${device}`);
  }
  return found;
}

/** Runs naga on texts: what it says of those that it refuses, or nothing. */
async function refusals(codes: readonly string[]): Promise<string> {
  const files = codes.map((code, i) => {
    writeFileSync(join(folder, `${i}.wgsl`), code);
    return `${i}.wgsl`;
  });
  try {
    await promisify(execFile)(naga!, ['--bulk-validate', ...files], { cwd: folder, maxBuffer: 2 ** 26 });
    return '';
  } catch (error) {
    return (error as { stderr: string }).stderr;
  }
}

describe.runIf(naga !== null)(title, () => {
  it('accepts every text', async () => {
    const all = await texts();
    expect(all.size).toBeGreaterThan(300);
    const said = await refusals([...all.keys()]);
    const whats = [...all.values()];
    expect(said.replaceAll(/(\d+)\.wgsl/g, (file, i: string) => `${file} (${whats[Number(i)]})`)).toBe('');
  }, 120_000);

  it('refuses what is no WGSL', async () => {
    expect(await refusals(['@compute @workgroup_size(1) fn main() { let x: f32 = 1u; }'])).toContain('0.wgsl');
  });
});
