/** The page: finds the adapter, classifies photos, trains on the CIFAR-10 sample. */
import { DeitError, createEngine } from '../../engine/index.ts';
import type { Engine } from '../../engine/index.ts';
import { cifar10Classes, evaluationPipeline } from '../data/index.ts';
import type { RgbImage } from '../data/index.ts';
import { classify, showAnswers } from './classify.ts';
import { byId, element, fetchBytes } from './dom.ts';
import { LiveChart } from './live-chart.ts';
import { decodePhoto } from '../data/photo.ts';
import { chosenFile, freeModel, isWeights, modelFile, openModel, preferred } from './models.ts';
import type { Opened } from './models.ts';
import { openSample, studentSpec, trainInPage } from './train.ts';
import type { Cifar } from './train.ts';

const SHIPPED = 'deit_tiny_patch16_224';

/** What tests, and the curious at the console, can see. */
interface PageState {
  adapter?: string;
  /** Logits of the class head for the last photo. */
  logits?: number[];
  /** Loss of each step of the student. */
  losses: number[];
  idle: boolean;
}
declare global {
  interface Window {
    deit: PageState;
  }
}
const state: PageState = { losses: [], idle: true };
window.deit = state;

const status = byId('status', HTMLElement);
const say = (line: string): void => {
  status.textContent = line;
};

/** Shows what went wrong instead of leaving a page that does nothing. */
function attempt(action: () => Promise<void>): void {
  state.idle = false;
  action()
    .catch((error: unknown) => {
      console.error(error);
      say(error instanceof Error ? error.message : String(error));
    })
    .finally(() => {
      state.idle = true;
    });
}

/** The model of the server that brings the page, if it has one. */
interface ServerModel {
  readonly model: string;
}

async function start(): Promise<void> {
  const { server } = JSON.parse(new TextDecoder().decode(await fetchBytes('site.json'))) as {
    server: ServerModel | null;
  };
  let engine: Engine | null = null;
  try {
    engine = await createEngine();
  } catch (error) {
    if (!(error instanceof DeitError)) throw error;
    byId('without-webgpu', HTMLElement).hidden = false;
    if (!server) {
      say(error.message);
      return;
    }
  }
  if (engine) {
    const { name, software, advice } = engine.adapter;
    state.adapter = name;
    byId('adapter', HTMLElement).textContent = `${name}${software ? ' (software: slow)' : ''}`;
    if (advice) byId('advice', HTMLElement).textContent = `For more speed: ${advice}.`;
  } else byId('adapter', HTMLElement).textContent = 'none here: the server computes';
  const shipped = engine && (await openShipped(engine));
  const page = new Page(engine, { shipped, trained: null, own: null }, server);
  page.listen();
  say(['ready: drop a photo, or train', ...(shipped?.notes ?? [])].join('; '));
}

async function openShipped(engine: Engine): Promise<Opened> {
  const names = new TextDecoder().decode(await fetchBytes('imagenet-classes.txt'));
  const bytes = await fetchBytes(`${SHIPPED}.safetensors`, (share) =>
    say(`loading DeiT-Ti: ${Math.round(100 * share)} %`),
  );
  return openModel(engine, SHIPPED, bytes, { spec: SHIPPED, classes: names.trimEnd().split('\n') });
}

/** Weights beyond this are not read: the page has them in memory twice. */
const MOST_WEIGHTS = 2 ** 30;

type ModelName = 'shipped' | 'trained' | 'own';

class Page {
  private photo: { readonly file: File; readonly pixels: RgbImage } | null = null;
  private sample: Cifar | null = null;
  private stop: AbortController | null = null;
  /** One thing at a time on the GPU. */
  private queue: Promise<void> = Promise.resolve();
  private readonly choice = byId('model', HTMLSelectElement);

  constructor(
    private readonly engine: Engine | null,
    private readonly models: Record<ModelName, Opened | null>,
    private readonly server: ServerModel | null,
  ) {}

  listen(): void {
    const drop = byId('drop', HTMLElement);
    const file = byId('file', HTMLInputElement);
    file.addEventListener('change', () => {
      const chosen = preferred([...(file.files ?? [])]);
      if (chosen) this.enqueue(() => this.open(chosen));
    });
    drop.addEventListener('dragover', (event) => event.preventDefault());
    drop.addEventListener('drop', (event) => {
      event.preventDefault();
      // What was dropped can be asked for only now.
      const dropped = event.dataTransfer && chosenFile(event.dataTransfer);
      this.enqueue(async () => {
        const chosen = await dropped;
        if (chosen) await this.open(chosen);
      });
    });
    this.choice.addEventListener('change', () => this.enqueue(() => this.show()));
    const sample = byId('sample', HTMLButtonElement);
    sample.addEventListener('click', () => this.enqueue(() => this.openSamplePhoto()));
    const button = byId('train', HTMLButtonElement);
    button.addEventListener('click', () => {
      if (this.stop) this.stop.abort();
      else this.enqueue(() => this.train());
    });
    const save = byId('save', HTMLButtonElement);
    save.addEventListener('click', () => this.enqueue(() => this.save()));
    const controls: (HTMLInputElement | HTMLSelectElement | HTMLButtonElement)[] = [file, this.choice, sample];
    for (const control of this.engine ? [...controls, button] : controls) control.disabled = false;
    if (this.server) {
      const option = new Option(`${this.server.model.split(' ')[0]}, on the server`, 'server', true, true);
      this.choice.prepend(option);
    }
    if (!this.engine) byId('shipped-model', HTMLOptionElement).disabled = true;
  }

  private enqueue(action: () => Promise<void>): void {
    attempt(() => {
      this.queue = this.queue.catch(() => undefined).then(action);
      return this.queue;
    });
  }

  /** A photo, or weights. */
  private async open(file: File): Promise<void> {
    if (isWeights(file.name)) return this.openWeights(file);
    this.photo = { file, pixels: await decodePhoto(file) };
    await this.show();
  }

  private async openSamplePhoto(): Promise<void> {
    await this.open(new File([(await fetchBytes('sample.jpg')) as Uint8Array<ArrayBuffer>], 'sample.jpg'));
  }

  private async openWeights(file: File): Promise<void> {
    const engine = this.expectEngine();
    if (file.size > MOST_WEIGHTS) {
      throw new DeitError('bad-data', 'The file of weights is too large for a page.', {
        where: file.name,
        expected: `at most ${MOST_WEIGHTS} bytes`,
        found: `${file.size} bytes`,
      });
    }
    const opened = openModel(engine, file.name, new Uint8Array(await file.arrayBuffer()));
    if (this.models.own) freeModel(this.models.own.model);
    this.models.own = opened;
    const option = byId('dropped-model', HTMLOptionElement);
    option.textContent = file.name;
    option.disabled = false;
    this.choice.value = 'own';
    await this.show([`${file.name} is loaded: ${opened.classes.length} classes`, ...opened.notes]);
  }

  private expectEngine(): Engine {
    if (this.engine) return this.engine;
    throw new DeitError('no-adapter', 'Weights are used here by WebGPU, which this browser lacks.');
  }

  /** The photo through the chosen model, and what else there is to say. */
  private async show(notes: readonly string[] = []): Promise<void> {
    say(notes.join('; '));
    if (!this.photo) return;
    const start = performance.now();
    const place = byId('result', HTMLElement);
    const seconds = (): string => ((performance.now() - start) / 1000).toFixed(2);
    if (this.choice.value === 'server') {
      showAnswers(this.photo.pixels, 'answers of the server', await this.askServer(this.photo.file), place);
      say([...notes, `classified by the server in ${seconds()} s`].join('; '));
      return;
    }
    const opened = this.models[this.choice.value as ModelName];
    if (!opened) return;
    const { cls } = await classify(this.expectEngine(), opened, this.photo.pixels, place);
    state.logits = [...cls];
    say([...notes, `classified in ${seconds()} s, pictures included`].join('; '));
  }

  private async askServer(file: File): Promise<readonly { name: string; probability: number }[]> {
    const body = new FormData();
    body.append('image', file);
    const answer = (await (await fetch('predict', { method: 'POST', body })).json()) as {
      predictions?: { answers: { name: string; probability: number }[] }[];
      error?: { message: string };
    };
    if (answer.predictions) return answer.predictions[0].answers;
    throw new Error(answer.error?.message ?? 'the server does not answer');
  }

  private async save(): Promise<void> {
    const trained = this.models.trained;
    if (!trained) return;
    const { classes, pipeline, model, spec } = trained;
    const { imageSize, cropPct } = pipeline;
    const blob = await modelFile(model, { model: spec, classes, imageSize, cropPct, interpolation: 'bicubic', data: 'cifar10-sample' }); // prettier-ignore
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = 'deit-trained-in-the-page.safetensors';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say(`saved as ${link.download}: drop it here another time, or give it to deit predict --weights`);
  }

  private async train(): Promise<void> {
    const number = (id: string): number => Math.max(0, Math.floor(byId(id, HTMLInputElement).valueAsNumber || 0));
    const button = byId('train', HTMLButtonElement);
    const engine = this.expectEngine();
    this.stop = new AbortController();
    button.textContent = 'Stop';
    state.losses = [];
    try {
      this.sample ??= await this.fetchSample();
      const curves = byId('curves', HTMLElement);
      const place = (title: string): HTMLElement => {
        const figure = element('figure');
        const chart = element('div');
        figure.append(element('h3', title), chart);
        curves.append(figure);
        return chart;
      };
      curves.replaceChildren();
      const loss = new LiveChart(place('Loss of the student'), 'step', ['class head', 'distillation head']);
      const accuracy = new LiveChart(place('Held-out accuracy, %'), 'step', ['class', 'distillation', 'average']);
      const watched = this.sample.validation.rgb(0);
      const teacherSteps = number('teacher-steps');
      const spec = studentSpec(teacherSteps > 0);
      let step = 0;
      await trainInPage({
        engine,
        data: this.sample,
        teacherSteps,
        studentSteps: Math.max(1, number('student-steps')),
        batchSize: Math.max(2, number('batch-size')),
        signal: this.stop.signal,
        onStep: (role, progress) => {
          say(
            `${role}: step ${progress.step} of ${progress.steps}, ${progress.imagesPerSecond.toFixed(1)} images/s, loss ${progress.loss.toFixed(3)}`,
          );
          if (role === 'teacher') return;
          step = progress.step;
          state.losses.push(progress.loss);
          loss.add(step, [progress.lossLabel, progress.lossDistillation]);
        },
        onLook: async (model, accuracies) => {
          const share = (value: number | null): number | null => (value === null ? null : 100 * value);
          accuracy.add(step, [accuracies.class, accuracies.distillation, accuracies.average].map(share));
          const { training } = model;
          const pipeline = evaluationPipeline({ imageSize: 32, cropPct: 1 });
          const earlier = this.models.trained?.model;
          if (earlier && earlier !== model) freeModel(earlier);
          this.models.trained = { model: model.eval(), spec, pipeline, classes: cifar10Classes, notes: [] };
          await classify(engine, this.models.trained, watched, byId('watched', HTMLElement));
          model.train(training);
        },
      });
      const { trained } = this.models;
      trained?.model.eval();
      byId('own-model', HTMLOptionElement).disabled = trained === null;
      byId('save', HTMLButtonElement).disabled = trained === null;
      say(`trained; the held-out picture below is a ${cifar10Classes[this.sample.validation.label(0)]}`);
    } finally {
      this.stop = null;
      button.textContent = 'Train';
    }
  }

  private async fetchSample(): Promise<Cifar> {
    const names = [1, 2, 3, 4, 5].map((number) => `cifar10/data_batch_${number}.bin`);
    const [heldOut, ...train] = await Promise.all(['cifar10/test_batch.bin', ...names].map((name) => fetchBytes(name)));
    return openSample(train, heldOut);
  }
}

attempt(start);
