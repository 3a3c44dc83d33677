import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DeitError } from '../../engine/index.ts';
import { compiledCards } from './cards.ts';
import type { CardName } from './cards.ts';
import { machineCodeOf } from './disassembly.ts';
import type { MachineCode } from './disassembly.ts';
import { MARK } from './programs.ts';
import type { Program } from './programs.ts';

const INSTALL =
  'Debian 13, Ubuntu 25.04 or later: apt-get install mesa-vulkan-drivers libvulkan1 gcc libc6-dev; Debian 12: the same with ' +
  '-t bookworm-backports for the first two (add "deb http://deb.debian.org/debian bookworm-backports main" to the sources of apt)';

const missing = (what: string, found: string): DeitError =>
  new DeitError('no-adapter', what, {
    where: 'bench --isa',
    expected: "Linux with Mesa's AMD Vulkan driver (24.3 to 25.x; 26 cannot do without a card) and a C compiler",
    found,
    fix: INSTALL,
  });

/** Where Debian, Ubuntu, Fedora and Arch have it. */
const DRIVERS = ['x86_64-linux-gnu/', 'aarch64-linux-gnu/', '', '../lib64/'].map(
  (folder) => `/usr/lib/${folder}libvulkan_radeon.so`,
);

/** The compiler: a driver, and the shim that keeps it from what needs a card. */
export interface Toolchain {
  readonly driver: string;
  /** For example `Mesa 25.0.7-2~bpo12+1`. */
  readonly version: string;
}

/** What is installed here. Throws `no-adapter` with what to install. */
export function findToolchain(): Toolchain {
  if (process.platform !== 'linux') throw missing('Machine code can be looked at on Linux only.', process.platform);
  const driver = DRIVERS.find((path) => existsSync(path));
  if (driver === undefined) throw missing("Mesa's AMD driver is not installed.", `none of ${DRIVERS.join(', ')}`);
  const version = /Mesa (\d+)\.(\d+)\.\d+[-~+.\w]*/.exec(readFileSync(driver, 'latin1'));
  const release = version ? Number(version[1]) + Number(version[2]) / 10 : 0;
  if (!version || release < 24.3 || release >= 26) {
    throw missing("This version of Mesa's AMD driver does not do.", version?.[0] ?? 'no version in it');
  }
  try {
    execFileSync('cc', ['--version'], { stdio: 'pipe' });
  } catch {
    throw missing('There is no C compiler.', 'cc cannot be run');
  }
  return { driver, version: version[0] };
}

/** What became of a program. */
export type Compiled = { readonly code: MachineCode; readonly failure: null } | { readonly code: null; readonly failure: string }; // prettier-ignore

/** Compiles programs for a card, in as many processes at once. By their ids. */
export async function compileFor(
  card: CardName,
  programs: readonly Program[],
  { driver }: Toolchain,
  processes = 2,
): Promise<Map<string, Compiled>> {
  const folder = mkdtempSync(join(tmpdir(), 'deit-isa-'));
  try {
    const icd = buildShim(folder);
    const { family, settings } = compiledCards[card];
    const environment = {
      ...process.env,
      ...settings,
      VK_DRIVER_FILES: icd,
      VK_ICD_FILENAMES: icd,
      COMPILE_ONLY_DRIVER: driver,
      RADV_FORCE_FAMILY: family,
      RADV_DEBUG: 'shaders,shaderstats,nocache',
      MESA_SHADER_CACHE_DISABLE: 'true',
    };
    const parts = Array.from({ length: processes }, (_, i) => programs.filter((_program, j) => j % processes === i));
    const found = await Promise.all(parts.map((part, i) => compilePart(join(folder, String(i)), part, environment)));
    return new Map(found.flat());
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Compiles the shim into the folder; the path of its manifest for Vulkan's loader. */
function buildShim(folder: string): string {
  const library = join(folder, 'libcompile_only.so');
  const source = new URL('compile-only.c', import.meta.url).pathname;
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl'], { stdio: 'pipe' });
  const manifest = join(folder, 'icd.json');
  const icd = { file_format_version: '1.0.0', ICD: { library_path: library, api_version: '1.3.0' } };
  writeFileSync(manifest, JSON.stringify(icd));
  return manifest;
}

async function compilePart(
  folder: string,
  programs: readonly Program[],
  environment: NodeJS.ProcessEnv,
): Promise<[string, Compiled][]> {
  if (programs.length === 0) return [];
  mkdirSync(folder);
  const list = join(folder, 'programs.json');
  writeFileSync(list, JSON.stringify(programs));
  const { said, dump } = await run(folder, list, environment);
  const failures = new Map<string, string>();
  for (const line of said.split('\n')) {
    if (!line.startsWith('{')) continue;
    const { failed, message } = JSON.parse(line) as { failed?: string; message?: string };
    if (failed !== undefined) failures.set(failed, message ?? '');
  }
  const sections = new Map(
    dump.split(`\n${MARK}`).map((section) => {
      const end = section.indexOf('\n');
      return [section.slice(0, end), section.slice(end)] as const;
    }),
  );
  return programs.map(({ id }): [string, Compiled] => {
    const code = machineCodeOf(sections.get(id) ?? '');
    const failure = failures.get(id) ?? (code ? null : `the driver compiled nothing:\n${dump.slice(-400)}`);
    return [id, failure === null && code ? { code, failure: null } : { code: null, failure: failure ?? '' }];
  });
}

/** Runs the compiling process; both streams go to files, since what the driver writes would not wait for a pipe. */
async function run(folder: string, list: string, env: NodeJS.ProcessEnv): Promise<{ said: string; dump: string }> {
  const files = [join(folder, 'said'), join(folder, 'dump')];
  const [said, dump] = files.map((file) => openSync(file, 'w'));
  const script = new URL('compile.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, ['--import', 'tsx', script, list], { env, stdio: ['ignore', said, dump] });
  closeSync(said);
  closeSync(dump);
  await once(child, 'close');
  return { said: readFileSync(files[0], 'utf8'), dump: readFileSync(files[1], 'latin1') };
}
