/** The page: finds the adapter, classifies photos, trains on the CIFAR-10 sample. */
import { DeitError, createEngine } from '../../engine/index.ts';
import type { Engine } from '../../engine/index.ts';
import { cifar10Classes } from '../data/index.ts';
import type { RgbImage } from '../data/index.ts';
import { classify, openModel } from './classify.ts';
import type { Opened } from './classify.ts';
import { byId, element, fetchBytes } from './dom.ts';
import { LiveChart } from './live-chart.ts';
import { decodePhoto } from '../data/photo.ts';
import { openSample, trainInPage } from './train.ts';
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

async function start(): Promise<void> {
  let engine: Engine;
  try {
    engine = await createEngine();
  } catch (error) {
    if (!(error instanceof DeitError)) throw error;
    byId('without-webgpu', HTMLElement).hidden = false;
    say(error.message);
    return;
  }
  const { name, software, advice } = engine.adapter;
  state.adapter = name;
  byId('adapter', HTMLElement).textContent = `${name}${software ? ' (software: slow)' : ''}`;
  if (advice) byId('advice', HTMLElement).textContent = `For more speed: ${advice}.`;
  const names = new TextDecoder()
    .decode(await fetchBytes('imagenet-classes.txt'))
    .trimEnd()
    .split('\n');
  const bytes = await fetchBytes(`${SHIPPED}.safetensors`, (share) =>
    say(`loading DeiT-Ti: ${Math.round(100 * share)} %`),
  );
  const shipped = openModel(engine, SHIPPED, bytes, names);
  const page = new Page(engine, shipped);
  page.listen();
  say(['ready: drop a photo, or train', ...shipped.notes].join('; '));
}

class Page {
  private photo: RgbImage | null = null;
  private trained: Opened | null = null;
  private sample: Cifar | null = null;
  private stop: AbortController | null = null;
  /** One thing at a time on the GPU. */
  private queue: Promise<void> = Promise.resolve();

  constructor(
    private readonly engine: Engine,
    private readonly shipped: Opened,
  ) {}

  listen(): void {
    const drop = byId('drop', HTMLElement);
    const file = byId('file', HTMLInputElement);
    const take = (chosen: File | undefined): void => {
      if (chosen) this.enqueue(() => this.open(chosen));
    };
    file.addEventListener('change', () => take(file.files?.[0]));
    drop.addEventListener('dragover', (event) => event.preventDefault());
    drop.addEventListener('drop', (event) => {
      event.preventDefault();
      take(event.dataTransfer?.files[0]);
    });
    const model = byId('model', HTMLSelectElement);
    model.addEventListener('change', () => this.enqueue(() => this.show()));
    const button = byId('train', HTMLButtonElement);
    button.addEventListener('click', () => {
      if (this.stop) this.stop.abort();
      else this.enqueue(() => this.train());
    });
    for (const control of [file, model, button]) control.disabled = false;
  }

  private enqueue(action: () => Promise<void>): void {
    attempt(() => {
      this.queue = this.queue.catch(() => undefined).then(action);
      return this.queue;
    });
  }

  private async open(file: File): Promise<void> {
    this.photo = await decodePhoto(file);
    await this.show();
  }

  /** The photo through the chosen model. */
  private async show(): Promise<void> {
    if (!this.photo) return;
    const own = byId('model', HTMLSelectElement).value === 'trained';
    const start = performance.now();
    const maps = await classify(
      this.engine,
      (own && this.trained) || this.shipped,
      this.photo,
      byId('result', HTMLElement),
    );
    state.logits = [...maps.cls];
    say(`classified in ${((performance.now() - start) / 1000).toFixed(2)} s, attention and pictures included`);
  }

  private async train(): Promise<void> {
    const number = (id: string): number => Math.max(0, Math.floor(byId(id, HTMLInputElement).valueAsNumber || 0));
    const button = byId('train', HTMLButtonElement);
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
      let step = 0;
      await trainInPage({
        engine: this.engine,
        data: this.sample,
        teacherSteps: number('teacher-steps'),
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
        onLook: async (model, held) => {
          const share = (value: number | null): number | null => (value === null ? null : 100 * value);
          accuracy.add(step, [held.class, held.distillation, held.average].map(share));
          const { training } = model;
          this.trained = { model: model.eval(), imageSize: 32, classes: cifar10Classes, notes: [] };
          await classify(this.engine, this.trained, watched, byId('watched', HTMLElement));
          model.train(training);
        },
      });
      this.trained?.model.eval();
      byId('own-model', HTMLOptionElement).disabled = this.trained === null;
      say(`trained; the held-out picture below is a ${cifar10Classes[this.sample.validation.label(0)]}`);
    } finally {
      this.stop = null;
      button.textContent = 'Train';
    }
  }

  private async fetchSample(): Promise<Cifar> {
    const names = [1, 2, 3, 4, 5].map((number) => `cifar10/data_batch_${number}.bin`);
    const [held, ...train] = await Promise.all(['cifar10/test_batch.bin', ...names].map((name) => fetchBytes(name)));
    return openSample(train, held);
  }
}

attempt(start);
