import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { canChooseCards, cardAdvice, cardOf, findCards } from '../../deit/parallel/node/cards.ts';
import { findOpenMpi, linesOf, runRanks } from '../support/mpi.ts';
import { onPath } from '../support/programs.ts';

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

  it('cannot be chosen without the layer that heeds the choice, which is told where several ranks need it', () => {
    const three = machine('no-layer', devices);
    expect(canChooseCards(three)).toBe(false);
    expect(cardAdvice({ localSize: 3 }, three)).toMatch(/all 3 ranks .* apt-get install mesa-vulkan-drivers/);
    expect(cardAdvice({ localSize: 1 }, three)).toBeNull();
    const layers = join(three, 'usr/share/vulkan/implicit_layer.d');
    mkdirSync(layers, { recursive: true });
    writeFileSync(join(layers, 'VkLayer_MESA_device_select.json'), '{}');
    expect(cardAdvice({ localSize: 3 }, three)).toBeNull();
  });
});

const LAVAPIPE = ['x86_64-linux-gnu', 'aarch64-linux-gnu']
  .map((kind) => `/usr/lib/${kind}/libvulkan_lvp.so`)
  .find(existsSync);
const openMpi = findOpenMpi();

describe.runIf(openMpi && LAVAPIPE && onPath('cc') && canChooseCards())('on a machine of three identical cards', () => {
  const BUSES = ['41', '42', 'c1'];
  const three = machine('three', Object.fromEntries(BUSES.map((bus) => [`0000:${bus}:00.0`, h100])));

  /** The manifest of a driver that is lavapipe, and says of itself that it is at this place. */
  const driverAt = (bus: string): string => {
    const library = join(root, `card-${bus}.so`);
    const source = fileURLToPath(new URL('../support/card.c', import.meta.url));
    execFileSync('cc', ['-shared', '-fPIC', '-O1', `-DBUS=0x${bus}`, '-o', library, source, '-ldl']);
    const manifest = join(root, `card-${bus}.json`);
    const ICD = { library_path: library, api_version: '1.3.0' };
    writeFileSync(manifest, JSON.stringify({ file_format_version: '1.0.0', ICD }));
    return manifest;
  };

  it('each local rank computes on its own, whatever the order in which Vulkan finds them', async () => {
    const manifests = BUSES.map(driverAt);
    for (const [i, drivers] of [manifests, manifests.toReversed()].entries()) {
      const log = join(root, `log-${i}`);
      const environment = {
        VK_DRIVER_FILES: drivers.join(':'),
        VK_ICD_FILENAMES: drivers.join(':'),
        CARD_DRIVER: LAVAPIPE!,
        CARD_LOG: log,
      };
      const ended = await runRanks(openMpi!, 3, 'test/ranks/card.ts', [three], { environment });
      expect(ended.code, ended.stderr).toBe(0);
      const lines = linesOf<{ rank: number; pid: number; sum: number[] }>(ended);
      expect(lines.map(({ sum }) => sum)).toEqual(new Array(3).fill([4, 6]));
      const opened = readFileSync(log, 'utf8').trim().split('\n');
      const busesOf = (pid: number): string[] => [
        ...new Set(opened.map((line) => line.split(' ')).flatMap(([by, bus]) => (by === String(pid) ? [bus] : []))),
      ];
      expect(lines.map(({ pid }) => busesOf(pid))).toEqual(BUSES.map((bus) => [bus]));
    }
  });
});
