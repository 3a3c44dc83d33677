/** What the runs of a study had in common, in words, and what is odd about them. Browser-safe. */
import { percent } from '../report/html.ts';
import { lengthOf } from '../train/setup.ts';
import type { Study } from './definition.ts';
import type { DataFacts, PlannedRun, StudyOptions, StudyPlan } from './node/plan.ts';
import type { StudyResults } from './results.ts';

/** Optimizer steps of a run. */
export const stepsOf = ({ recipe }: PlannedRun, { stepsPerEpoch }: DataFacts): number =>
  lengthOf(recipe, 'student', stepsPerEpoch(recipe), 0).steps;

export function studyFacts(
  study: Study,
  { seeds, data, base }: StudyOptions,
  { runs, lines }: StudyPlan,
  factsOf: (path: string) => DataFacts,
  results: StudyResults | null,
): string[] {
  const facts: string[] = [];
  for (const { name, value } of data) {
    const { training, heldOut, classes } = factsOf(value);
    facts.push(`${name}: ${training.toLocaleString('en-US')} training and ${heldOut.toLocaleString('en-US')} held-out images of ${classes.length} classes`); // prettier-ignore
  }
  const place = (run: PlannedRun): DataFacts => factsOf(data.find(({ name }) => lines.some((line) => line.data === name && line.runs.some(({ key }) => key === run.key)))?.value ?? data[0].value); // prettier-ignore
  const students = runs.filter(({ role }) => role === 'student');
  const steps = [...new Set(students.map((run) => stepsOf(run, place(run))))].sort((a, b) => a - b);
  const budget = study.equal ? `equal in ${study.equal}: ` : '';
  facts.push(`${budget}students make ${steps.join(', ')} steps of ${base['data.batchSize']} images; ${seeds.length === 1 ? `seed ${seeds[0]}` : `seeds ${seeds.join(', ')}`}`); // prettier-ignore
  const teachers = runs.filter(({ role }) => role === 'teacher');
  if (teachers.length > 0) {
    const own = [...new Set(teachers.map((run) => stepsOf(run, place(run))))].join(', ');
    const isDrawn = data.some(({ value }) => factsOf(value).drawn);
    const how = isDrawn
      ? 'once for each seed, since what is held out depends on it'
      : `once, with seed ${seeds[0]}, for the students of all seeds`;
    facts.push(`a teacher is trained ${how}: ${own} steps`);
  }
  for (const line of results?.lines ?? []) {
    if (line.teacherAccuracy === null || !line.spread || line.teacherAccuracy > line.spread.mean) continue;
    const fact = `the teacher ${line.teacher} (${percent(line.teacherAccuracy)}) is no better than its student: what its row shows is not distillation from a better model`;
    if (!facts.includes(fact)) facts.push(fact);
  }
  return facts;
}
