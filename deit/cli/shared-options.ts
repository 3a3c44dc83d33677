/** Options and help that several commands have. */
import { Option } from 'commander';
import type { Command } from 'commander';

/** What `--weights` takes. */
export const WEIGHTS =
  'safetensors file, run folder, checkpoint, or hf:OWNER/NAME, in timm, Hugging Face, torchvision or pycls naming';

/** The options of a command that uses a trained model. */
export const takesModel = (command: Command): Command =>
  command
    .option('--weights <path>', `${WEIGHTS}; default: the DeiT-Ti for ImageNet that ships`, 'shipped')
    .option('--model <spec>', 'model name with key=value options; default: what the weights say')
    .option('--ema', 'the moving average of the weights, where the training kept one (optim.ema)');

export const json = (): Option => new Option('--json', 'end with one line of JSON for programs');

export const examples = (...lines: string[]): string => `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}`;

/** The options of a command that can look for a learning rate instead of training. */
export const findsLr = (command: Command): Command =>
  command
    .option(
      '--find-lr [file]',
      'no training: try growing learning rates for 100 steps (--steps), suggest one and plot the loss (default: find-lr.html)',
    )
    .option('--lr-min <x>', 'with --find-lr: least value of optim.lr', '1e-7')
    .option('--lr-max <x>', 'with --find-lr: largest value of optim.lr', '1');
