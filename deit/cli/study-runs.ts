/** The runs of a study, one after the other, and its record after each. */
import { Interrupted } from '../train/node/train-model.ts';
import { MODEL_FILES } from '../train/node/find-weights.ts';
import type { Recipe } from '../recipe/settings.ts';
import { RUN } from '../study/node/plan.ts';
import type { DataFacts, PlannedRun, StudyPlan } from '../study/node/plan.ts';
import type { BegunStudy, FinishedRun, StudyFolder } from '../study/node/study-folder.ts';
import { studyFacts } from '../study/facts.ts';
import { studyResults } from '../study/results.ts';
import type { Outcome } from '../study/results.ts';
import type { RunRecord, StudyRecord } from '../study/record.ts';
import { join } from 'node:path';
import { describeError } from './errors.ts';
import { continueRun } from './open-run.ts';
import { percent, tell } from './progress.ts';
import { runTraining } from './run-training.ts';
import type { GlobalOptions } from './session.ts';

export class StudyRuns {
  private readonly done = new Map<string, FinishedRun>();
  private readonly problems = new Map<string, { state: 'failed' | 'refused'; problem: string }>();

  constructor(
    private readonly folder: StudyFolder,
    private readonly begun: BegunStudy,
    private readonly plan: StudyPlan,
    private readonly factsOf: (path: string) => DataFacts,
  ) {}

  /** Runs that are finished, by this study or by others that share them. */
  async look(): Promise<number> {
    for (const run of this.plan.runs) {
      const finished = await this.folder.finished(run);
      if (finished) this.done.set(run.key, finished);
    }
    return this.done.size;
  }

  /** Makes those that are left. One that fails is told, and the others go on. Throws `Interrupted`. */
  async make(session: GlobalOptions, signal: AbortSignal): Promise<void> {
    const { runs } = this.plan;
    for (const [i, run] of runs.entries()) {
      if (this.done.has(run.key)) continue;
      tell(`\nrun ${i + 1} of ${runs.length}: ${run.label}, seed ${run.seed}`);
      const refusal = this.refusal(run);
      if (refusal) {
        tell(`${refusal.state}: ${refusal.problem}`);
        this.problems.set(run.key, refusal);
      } else await this.makeOne(run, session, signal);
      await this.write();
    }
  }

  private async makeOne(run: PlannedRun, session: GlobalOptions, signal: AbortSignal): Promise<void> {
    try {
      const opened = await continueRun(run.label, this.recipeOf(run), this.folder.runPath(run));
      if ('folder' in opened) {
        try {
          await runTraining(opened, { session, signal });
        } finally {
          opened.folder.close({ removeUnused: true });
        }
      }
      const finished = await this.folder.finished(run);
      if (finished) this.done.set(run.key, finished);
    } catch (error) {
      if (error instanceof Interrupted) throw error;
      const problem = describeError(error).replace(/\s*\n\s*/g, ' ');
      tell(`failed: ${problem}`);
      this.problems.set(run.key, { state: 'failed', problem });
    }
  }

  /** With the weights of other runs where they are by now. */
  private recipeOf({ recipe }: PlannedRun): Recipe {
    const placed = (weights: string | null): string | null => {
      if (!weights?.startsWith(RUN)) return weights;
      const other = this.plan.runs.find(({ key }) => key === weights.slice(RUN.length))!;
      return join(this.folder.runPath(other), MODEL_FILES.last);
    };
    return {
      ...recipe,
      'model.weights': placed(recipe['model.weights']),
      'teacher.weights': placed(recipe['teacher.weights']),
    };
  }

  /** Why a run is not made: another has failed that it needs, or its teacher has nothing to teach. */
  private refusal(run: PlannedRun): { state: 'failed' | 'refused'; problem: string } | null {
    const { plan, done, begun } = this;
    for (const needed of [run.teacher?.key, run.from]) {
      if (!needed || done.has(needed)) continue;
      const { label } = plan.runs.find(({ key }) => key === needed)!;
      const state = this.problems.get(needed)?.state ?? 'failed';
      return { state, problem: `it needs the weights of ${label}, which there are not` };
    }
    if (!run.teacher || run.teacher.entry.weak || begun.weakTeachers) return null;
    const teacher = this.teacherAccuracy(run);
    const plain = plan.runs
      .filter(
        ({ group, recipe, from }) => group === run.group && from === null && recipe['distillation.type'] === 'none',
      ) // prettier-ignore
      .map(({ key }) => done.get(key)?.outcome.accuracy.average ?? 0)
      .reduce((a, b) => Math.max(a, b), 0);
    if (teacher === null || teacher > plain) return null;
    return {
      state: 'refused',
      problem: `its teacher, ${run.teacher.entry.name}, has ${percent(teacher)} of the held-out images, no more than the ${percent(plain)} of a student without teacher, so that it shows nothing; --weak-teachers goes on`,
    };
  }

  /** Of its own run, or, of a teacher that came with weights, as students have found it. */
  private teacherAccuracy({ teacher, recipe }: PlannedRun): number | null {
    if (teacher?.key) return this.done.get(teacher.key)?.outcome.accuracy.average ?? null;
    const alike = this.plan.runs.filter(
      (other) =>
        other.recipe['teacher.weights'] === recipe['teacher.weights'] &&
        other.recipe['data.path'] === recipe['data.path'],
    );
    return alike.map(({ key }) => this.done.get(key)?.outcome.teacher ?? null).find((one) => one !== null) ?? null;
  }

  record(): StudyRecord {
    const { begun, plan, done, folder } = this;
    const runs = plan.runs.map((run): RunRecord => {
      const { key, label, role, seed } = run;
      const finished = done.get(key);
      const problem = this.problems.get(key);
      return {
        ...{ key, label, role, seed },
        state: finished ? 'done' : (problem?.state ?? 'waiting'),
        problem: finished ? null : (problem?.problem ?? null),
        folder: finished ? folder.link(folder.runPath(run)) : null,
        steps: finished?.steps ?? null,
        accuracy: finished?.outcome.accuracy.average ?? null,
      };
    });
    const outcomes = new Map([...done].map(([key, { outcome }]): [string, Outcome] => [key, outcome]));
    const { name, study, command, options } = begun;
    const images = new Set(options.data.map(({ value }) => this.factsOf(value).heldOut));
    const results = studyResults(study, plan, outcomes);
    return {
      ...{ name, study, plan, command, runs, results },
      adapter: [...new Set([...done.values()].map(({ adapter }) => adapter))].filter(Boolean).join(', '),
      facts: studyFacts(begun.study, options, plan, this.factsOf, results),
      images: images.size === 1 ? [...images][0] : null,
    };
  }

  write(): Promise<string> {
    return this.folder.write(this.begun, this.record());
  }
}
