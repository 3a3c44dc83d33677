/** A training run as its folder describes it. Browser-safe. */
import type { AdapterReport } from '../../engine/index.ts';
import type { Accuracy } from '../train/evaluate.ts';
import type { StepProgress } from '../train/train-steps.ts';
import type { Role } from '../train/setup.ts';
import type { Analysis } from './analysis.ts';
import { quoted } from './shell.ts';

/** `config.json`. */
export interface RunConfig {
  readonly version: string;
  /** Versions of what it ran on: Node, the WebGPU bindings, the platform. */
  readonly versions?: Readonly<Record<string, string>>;
  readonly command: readonly string[];
  readonly name: string;
  /** Every setting, by section. */
  readonly recipe: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Where a run went on, and on what: one a start, as far as something differed. Of `adapter.json`. */
export interface Session {
  readonly role: Role;
  /** Steps of the role that had been done. */
  readonly step: number;
  /** Of this package, Node, the WebGPU bindings, the platform; empty where they were not kept. */
  readonly versions: Readonly<Record<string, string>>;
  readonly adapter: AdapterReport;
}

export interface StepLine extends StepProgress {
  readonly role: Role;
}

export interface EvaluationLine {
  readonly role: Role;
  readonly step: number;
  readonly accuracy: Accuracy;
  readonly ema: Accuracy | null;
}

/** `result.json`, as far as the report shows it. */
export interface RunResult {
  readonly accuracy: {
    readonly teacher: number | null;
    readonly class: number;
    readonly distillation: number | null;
    readonly average: number;
  };
  readonly ema: Accuracy | null;
  readonly steps: number;
  readonly seconds: number;
  readonly imagesPerSecond: number;
  readonly dataWait: number;
  /** Names of the adapters that it ran on, in order. */
  readonly adapter: string;
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

/** Names of the adapters of a run, in order, each once. */
export const adapterNames = (sessions: readonly Session[]): string =>
  [...new Set(sessions.map(({ adapter }) => adapter.name))].join(', then ');

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
