/** A study as it stands: `study.json`. Browser-safe. */
import type { Study } from './definition.ts';
import type { StudyPlan } from './node/plan.ts';
import type { StudyResults } from './results.ts';

export type RunState = 'waiting' | 'done' | 'failed' | 'refused';

export interface RunRecord {
  readonly key: string;
  readonly label: string;
  readonly role: 'teacher' | 'student';
  readonly seed: number;
  readonly state: RunState;
  /** Why it failed or was refused. */
  readonly problem: string | null;
  /** Its folder, from the study's; null where there is none yet. */
  readonly folder: string | null;
  readonly steps: number | null;
  /** By the average of the heads. */
  readonly accuracy: number | null;
}

export interface StudyRecord {
  readonly name: string;
  readonly study: Study;
  readonly plan: StudyPlan;
  readonly command: readonly string[];
  /** Names of the adapters that the runs were made on. */
  readonly adapter: string;
  /** What all runs had in common, in words. */
  readonly facts: readonly string[];
  /** Held-out images; null where data sets differ in it. */
  readonly images: number | null;
  readonly runs: readonly RunRecord[];
  readonly results: StudyResults;
}
