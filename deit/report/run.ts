/** A training run as its folder describes it. Browser-safe. */
import type { Accuracy } from '../train/tally.ts';
import type { StepProgress } from '../train/train-steps.ts';
import type { Role } from '../train/setup.ts';
import type { Analysis } from './analysis.ts';
import type { RunConfig, RunResult, Session } from '../train/run-schemas.ts';
import { quoted } from '../shell.ts';

export interface StepLine extends StepProgress {
  readonly role: Role;
}

export interface EvaluationLine {
  readonly role: Role;
  readonly step: number;
  readonly accuracy: Accuracy;
  readonly ema: Accuracy | null;
}

export interface Run {
  /** What the folder is called. */
  readonly label: string;
  readonly config: RunConfig;
  /** In order; empty where a run ended before it began. */
  readonly sessions: readonly Session[];
  readonly steps: readonly StepLine[];
  readonly evaluations: readonly EvaluationLine[];
  /** Null while the run is under way, or if it was stopped. */
  readonly result: RunResult | null;
  readonly analysis: Analysis | null;
}

export const stepsOf = ({ steps }: Run, role: Role): StepLine[] => steps.filter((line) => line.role === role);
export const evaluationsOf = ({ evaluations }: Run, role: Role): EvaluationLine[] =>
  evaluations.filter((line) => line.role === role);

const versionsText = (versions: Readonly<Record<string, string>>): string =>
  Object.entries(versions)
    .map((pair) => pair.join(' '))
    .join(', ');

/** Adapter and versions of each part of a run that had its own: `from` is empty where there is one part. */
export function describeSessions({ sessions, config }: Run): { from: string; adapter: string; versions: string }[] {
  return sessions.map(({ role, step, versions, adapter }, i) => ({
    from: sessions.length === 1 ? '' : i === 0 ? 'at first' : `from step ${step + 1} of the ${role}`,
    adapter: `${adapter.name}${adapter.software ? ' (software)' : ''}, ${adapter.features.join(', ')}`,
    versions: versionsText(
      Object.keys(versions).length > 0 ? versions : { 'deit-webgpu': config.version, ...config.versions },
    ),
  }));
}

/** One setting of the recipe, by its dotted name. */
export function settingOf({ config }: Run, name: string): unknown {
  const [section, key] = name.split('.');
  return config.recipe[section]?.[key];
}

/** The same for people. */
export function textOf(run: Run, name: string): string {
  const value = settingOf(run, name) ?? 'none';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** The command that does the same again. */
export const commandOf = ({ config }: Run): string => ['deit', ...config.command].map(quoted).join(' ');
