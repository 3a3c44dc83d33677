import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { cardOf, findCards } from '../../deit/parallel/node/cards.ts';

const root = mkdtempSync(join(tmpdir(), 'deit-cards-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What Linux shows of devices: by address, PCI class, vendor and device. */
function machine(
  name: string,
  devices: Record<string, [string, string, string]>,
  nvidia: readonly string[] = [],
): string {
  const path = join(root, name);
  for (const [address, values] of Object.entries(devices)) {
    const folder = join(path, 'sys/bus/pci/devices', address);
    mkdirSync(folder, { recursive: true });
    ['class', 'vendor', 'device'].forEach((file, i) => writeFileSync(join(folder, file), `${values[i]}\n`));
  }
  for (const address of nvidia) mkdirSync(join(path, 'proc/driver/nvidia/gpus', address), { recursive: true });
  return path;
}

// An H100 is a 3D controller of vendor 10de; the board's own display (Aspeed) and a network card are beside it.
const h100 = ['0x030200', '0x10de', '0x2330'] as [string, string, string];
const devices = {
  '0000:02:00.0': ['0x030000', '0x1a03', '0x2000'] as [string, string, string],
  '0000:19:00.0': h100,
  '0000:3b:00.0': h100,
  '0000:5d:00.0': ['0x020000', '0x15b3', '0x1021'] as [string, string, string],
  '0000:9b:00.0': h100,
};

describe('which GPU a local rank takes', () => {
  it('in turn over the cards of one kind, by their addresses', () => {
    const cards = findCards(machine('amd-or-intel', devices));
    expect(cards.map(({ address }) => address)).toEqual([
      '0000:02:00.0',
      '0000:19:00.0',
      '0000:3b:00.0',
      '0000:9b:00.0',
    ]);
    expect([0, 1, 2, 3].map((rank) => cardOf(rank, cards, {}))).toEqual([
      'pci-0000_19_00_0!',
      'pci-0000_3b_00_0!',
      'pci-0000_9b_00_0!',
      'pci-0000_19_00_0!',
    ]);
  });

  it('of those that the NVIDIA driver shows, where a container has been given some', () => {
    const cards = findCards(machine('container', devices, ['0000:3b:00.0', '0000:9b:00.0']));
    expect(cards).toEqual([
      { address: '0000:3b:00.0', model: '0x10de 0x2330' },
      { address: '0000:9b:00.0', model: '0x10de 0x2330' },
    ]);
    expect(cardOf(1, cards, {})).toBe('pci-0000_9b_00_0!');
  });

  it('is left alone where there is one, or the user has chosen', () => {
    const cards = findCards(machine('one', { '0000:19:00.0': h100 }));
    expect(cardOf(0, cards, {})).toBeNull();
    expect(cardOf(0, findCards(join(root, 'amd-or-intel')), { DRI_PRIME: '1' })).toBeNull();
    expect(findCards(join(root, 'nothing'))).toEqual([]);
  });

  it('is one of those that the scheduler allows', () => {
    const cards = findCards(join(root, 'amd-or-intel'));
    const allowed = (local: number, visible: string) => cardOf(local, cards, { CUDA_VISIBLE_DEVICES: visible });
    expect(allowed(0, '2')).toBe('pci-0000_9b_00_0!');
    expect([0, 1].map((local) => allowed(local, '1,2'))).toEqual(['pci-0000_3b_00_0!', 'pci-0000_9b_00_0!']);
    // Names that Vulkan does not know: all of them.
    expect(allowed(1, 'GPU-5fe4a1b2')).toBe('pci-0000_3b_00_0!');
  });
});
