import { createRequire } from 'node:module';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { DeitError } from '../../kernels/lib/errors.ts';
import { cacheFolder } from './package.ts';

/** Of the archive's files, those that Vulkan needs (the rest is OpenGL). */
const NEEDED = ['libvulkan.so.1', 'libvk_swiftshader.so', 'vk_swiftshader_icd.json'];

export interface SwiftShader {
  readonly loader: string;
  readonly icd: string;
}

/**
 * The software Vulkan driver that comes with the optional dependency `@sparticuz/chromium` (Google's SwiftShader and a
 * Vulkan loader), unpacked once into the user's cache folder. Null where the package is not installed or not for this machine.
 */
export function embeddedSwiftShader(): SwiftShader | null {
  if (process.platform !== 'linux' || process.arch !== 'x64') return null;
  const archive = findArchive();
  if (!archive) return null;
  const folder = join(cacheFolder(), `swiftshader-${archive.version}`);
  const found = { loader: join(folder, 'libvulkan.so.1'), icd: join(folder, 'vk_swiftshader_icd.json') };
  if (!existsSync(found.icd)) unpack(archive.path, folder);
  return found;
}

function findArchive(): { path: string; version: string } | null {
  try {
    const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium');
    let root = dirname(entry);
    while (!existsSync(join(root, 'bin', 'swiftshader.tar.br'))) {
      if (dirname(root) === root) return null;
      root = dirname(root);
    }
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    return { path: join(root, 'bin', 'swiftshader.tar.br'), version };
  } catch {
    return null;
  }
}

/** Unpacks beside the target and renames, so that two processes starting at once both find whole files. */
function unpack(archive: string, folder: string): void {
  try {
    const staging = mkdtempSync(`${folder}-`);
    for (const file of readTar(brotliDecompressSync(readFileSync(archive)))) {
      if (NEEDED.includes(file.name)) writeFileSync(join(staging, file.name), file.content);
    }
    try {
      renameSync(staging, folder);
    } catch (error) {
      rmSync(staging, { recursive: true, force: true });
      if (!existsSync(join(folder, 'vk_swiftshader_icd.json'))) throw error;
    }
  } catch (cause) {
    throw new DeitError('file-unwritable', 'The embedded software adapter could not be unpacked.', {
      where: folder,
      fix: 'make the folder writable, or point XDG_CACHE_HOME to one that is',
      cause,
    });
  }
}

/** The regular files of a flat tar archive (the ustar layout that npm packages and this archive use). */
function* readTar(tar: Buffer): Generator<{ name: string; content: Buffer }> {
  for (let offset = 0; offset + 512 <= tar.length;) {
    const name = tar.toString('utf8', offset, offset + 100).replace(/\0.*$/s, '');
    if (!name) return;
    const size = parseInt(tar.toString('latin1', offset + 124, offset + 136), 8);
    const type = String.fromCharCode(tar[offset + 156]);
    const base = name.split('/').at(-1)!;
    if ((type === '0' || type === '\0') && base) {
      yield { name: base, content: tar.subarray(offset + 512, offset + 512 + size) };
    }
    offset += 512 + Math.ceil(size / 512) * 512;
  }
}
