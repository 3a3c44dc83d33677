/** Node only. On what a run was, start by start: bits are promised for one adapter and one set of versions alone. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot, packageVersion } from '../../../engine/node.ts';
import type { AdapterReport } from '../../../engine/index.ts';
import { sessionsSchema } from '../run-schemas.ts';
import type { Session } from '../run-schemas.ts';
import { readRunFile } from './run-files.ts';
import type { RunFolder } from './run-folder.ts';

const FILE = 'adapter.json';

/** Versions of what a run's numbers come from. */
export function currentVersions(): Record<string, string> {
  const { dependencies } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  return {
    'deit-webgpu': packageVersion(),
    node: process.versions.node,
    webgpu: dependencies.webgpu,
    system: `${process.platform} ${process.arch}`,
  };
}

/**
 * Writes down on what a run goes on from here, and says so where that is not what it was on so far. Starts whose steps a
 * resumed run makes again are forgotten. Returns all that count, this one the last.
 */
export async function recordSession(
  folder: RunFolder,
  at: Pick<Session, 'role' | 'step'> | null,
  adapter: AdapterReport,
  say: (line: string) => void,
): Promise<readonly Session[]> {
  const current: Session = { role: at?.role ?? 'teacher', step: at?.step ?? 0, versions: currentVersions(), adapter };
  const earlier = at === null ? [] : ((await readRunFile(folder.path, FILE, sessionsSchema)) ?? []);
  const sessions = earlier.filter((one, i) => i === 0 || isBefore(one, current));
  const last = sessions.at(-1);
  const changes = last ? differences(last, current) : [];
  if (changes.length > 0) {
    say(`the run goes on with another ${changes.join('; another ')}: results may differ in the last bits from here on`);
  }
  const all = last && changes.length === 0 ? sessions : [...sessions, current];
  await folder.writeJson(FILE, all);
  return all;
}

/** The teacher is trained before the student. */
const isBefore = (a: Session, b: Session): boolean => (a.role === b.role ? a.step < b.step : a.role === 'teacher');

function differences(before: Session, now: Session): string[] {
  const identity = ({ name, vendor, architecture, description }: AdapterReport): string =>
    [name, vendor, architecture, description].filter(Boolean).join(', ');
  const compared: [what: string, before: string | undefined, now: string][] = [
    ['adapter', identity(before.adapter), identity(now.adapter)],
    ...Object.entries(now.versions).map(([name, version]): [string, string | undefined, string] => [
      name === 'system' ? 'system' : `version of ${name}`,
      before.versions[name],
      version,
    ]),
  ];
  return compared
    .filter(([, was, is]) => was !== undefined && was !== is)
    .map(([what, was, is]) => `${what} (${is} instead of ${was})`);
}
