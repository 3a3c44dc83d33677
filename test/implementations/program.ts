/**
 * Run by implementations.test.ts in each runtime: with --operators all operators; a distilled training run and the logits of teachers on that
 * runtime's WebGPU (DEIT_ADAPTER), as one line of JSON.
 */
import { createEngine } from '../../engine/node.ts';
import { checkOperators, checkTeachers, checkTraining } from '../support/golden-checks.ts';

const engine = await createEngine();
const { choice, name, features } = engine.adapter;
const teachers = await checkTeachers(engine);
const training = await checkTraining(engine, 20);
const operators = process.argv.includes('--operators') ? await checkOperators(engine) : null;
console.log(JSON.stringify({ adapter: { choice, name, features }, operators, training, teachers }));
engine.close();
