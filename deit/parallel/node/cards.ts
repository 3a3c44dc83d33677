/** Node only. Which of several GPUs of a machine a rank computes on. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Communicator } from '../communicator.ts';

/** A GPU by its place on the PCI bus. */
export interface Card {
  /** Such as `0000:42:00.0`. */
  readonly address: string;
  /** PCI numbers of vendor and device. */
  readonly model: string;
}

/** PCI class of displays: VGA (0x0300), 3D (0x0302) and so on. */
const DISPLAY = /^0x03/;

/** The GPUs of this machine, in order of their addresses; those that the NVIDIA driver shows, where it shows any. Linux only. */
export function findCards(root = '/'): Card[] {
  const devices = join(root, 'sys/bus/pci/devices');
  const nvidia = listed(join(root, 'proc/driver/nvidia/gpus'));
  const read = (address: string, name: string): string => {
    const path = join(devices, address, name);
    return existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
  };
  const addresses =
    nvidia.length > 0 ? nvidia : listed(devices).filter((address) => DISPLAY.test(read(address, 'class')));
  return addresses.map((address) => ({ address, model: `${read(address, 'vendor')} ${read(address, 'device')}` }));
}

const listed = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder).sort() : []);

/**
 * The value of DRI_PRIME with which Vulkan offers one card alone: of the most of one kind, the one of this local rank, in turn
 * where there are more ranks than cards. Null where there is no choice: one card, or one that the user has chosen.
 * CUDA_VISIBLE_DEVICES, which schedulers set and Vulkan does not know, is heeded.
 */
export function cardOf(
  localRank: number,
  cards: readonly Card[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string | null {
  if (environment.DRI_PRIME !== undefined) return null;
  const kinds = [...new Set(cards.map(({ model }) => model))];
  const alike = kinds.map((kind) => cards.filter(({ model }) => model === kind));
  const most = alike.sort((a, b) => b.length - a.length)[0] ?? [];
  if (most.length < 2) return null;
  const visible = (environment.CUDA_VISIBLE_DEVICES ?? '').split(',').filter((text) => /^\d+$/.test(text.trim()));
  const allowed = visible.map((text) => most.at(Number(text))).filter((card) => card !== undefined);
  const usable = allowed.length > 0 ? allowed : most;
  // The exclamation mark hides all others: the first adapter that is found is this one.
  return `pci-${usable[localRank % usable.length].address.replace(/[:.]/g, '_')}!`;
}

/** Has this rank compute on its card: to be called before adapters are first looked for. */
export function takeCard({ size, localRank }: Pick<Communicator, 'size' | 'localRank'>, root = '/'): void {
  const card = size > 1 ? cardOf(localRank, findCards(root)) : null;
  if (card) process.env.DRI_PRIME = card;
}

/** Where Vulkan's loader looks for layers that are always on. */
const LAYERS = ['usr/share', 'usr/local/share', 'etc', 'usr/etc'];

/** Whether Mesa's layer is there, which heeds DRI_PRIME, whatever the driver. */
export const canChooseCards = (root = '/'): boolean =>
  LAYERS.some((folder) => existsSync(join(root, folder, 'vulkan/implicit_layer.d/VkLayer_MESA_device_select.json')));

/** Says so where the ranks of this machine would all compute on one of several identical cards. */
export function cardAdvice({ localSize }: Pick<Communicator, 'localSize'>, root = '/'): string | null {
  if (localSize === 1 || cardOf(0, findCards(root)) === null || canChooseCards(root)) return null;
  return `all ${localSize} ranks of this machine may take the same one of its GPUs: ${INSTALL_LAYER}`;
}

export const INSTALL_LAYER =
  'install the layer that chooses by DRI_PRIME (Debian: apt-get install mesa-vulkan-drivers), or give each task one visible GPU';
