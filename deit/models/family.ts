import type { Engine } from '../../engine/index.ts';
import type { Classifier } from './classifier.ts';

/** What the registry needs to know of an architecture. */
export interface ModelFamily<Config> {
  /** Published models by timm's name, each with the options in which it differs from the defaults. */
  readonly models: Readonly<Record<string, Partial<Config>>>;
  /** Options that `key=value` can set, with the names that are taken for each; the first is the one printed. */
  readonly options: Readonly<Partial<Record<keyof Config & string, readonly string[]>>>;
  /** Fills in defaults and checks. Throws `bad-config`. */
  readonly config: (options: Partial<Config>) => Config;
  readonly create: (engine: Engine, config: Config) => Classifier;
  /** What the model takes and gives. RegNetY takes any size of image: its size is what figures are stated for. */
  readonly facts: (config: Config) => { imageSize: number; inChans: number; classes: number; distilled: boolean };
}
