/** The commands that put a trained model to use: on images, behind HTTP, in other tools. */
import { Option } from 'commander';
import type { Command } from 'commander';
import { examples, json, takesModel } from './shared-options.ts';

export function addServingCommands(program: Command): void {
  takesModel(program.command('predict'))
    .argument('<image...>', 'image files, folders of images, or - for a list of paths on standard input')
    .description('the five likeliest classes of each image; without --weights, by the DeiT-Ti for ImageNet that ships')
    .addOption(
      new Option('--unreadable <policy>', 'what to do with an image that cannot be read')
        .choices(['fatal', 'skip'])
        .default('fatal'),
    )
    .addOption(json())
    .addHelpText(
      'after',
      examples(
        'deit predict photo.jpg',
        'find . -name "*.jpg" | deit predict --json -',
        'deit predict --weights runs/quick-demo-1 photos/',
      ),
    )
    .action(async (images: string[], _options, command: Command) =>
      (await import('./predict.ts')).predict(images, { ...command.optsWithGlobals() }),
    );

  takesModel(program.command('serve'))
    .description(
      'answer over HTTP: POST /predict with images, GET /health, and the page at /; ends at Ctrl-C or SIGTERM with what is under way answered, and exit code 0',
    )
    .option('--host <address>', 'address to listen at; 0.0.0.0: every one of this machine', '127.0.0.1')
    .option('--port <n>', 'port to listen at; 0: any that is free', '8080')
    .option('--max-size <bytes>', 'largest body of a request', '20MB')
    .option('--rate <n>', 'requests a minute from one address; 0: any number', '300')
    .option('--batch-size <n>', 'images of requests that come at a time, joined for one pass', '16')
    .option('--max-wait <ms>', 'what a batch that is not full waits for more images, in milliseconds', '5')
    .addOption(new Option('--json', 'write one line of JSON with the address when it is ready'))
    .addHelpText(
      'after',
      examples(
        'deit serve --weights runs/finetune-1',
        'curl -F image=@one.jpg -F image=@two.jpg "localhost:8080/predict?top=3"',
        'curl --data-binary @photo.jpg -H "content-type: image/jpeg" localhost:8080/predict',
      ),
    )
    .action(async (_options, command: Command) => (await import('./serve.ts')).serve({ ...command.optsWithGlobals() }));

  takesModel(program.command('export'))
    .description("a checkpoint for other tools: ONNX, a folder for transformers, or safetensors under timm's names")
    .addOption(
      new Option(
        '--format <format>',
        'what to write; default: onnx for an output that ends in .onnx, else safetensors',
      ).choices(['safetensors', 'onnx', 'huggingface']),
    )
    .addOption(new Option('--dtype <type>', 'format of the numbers').choices(['f32', 'f16']).default('f32'))
    .addOption(
      new Option('--heads <which>', 'outputs of a distilled model as ONNX: the average of its heads, or both')
        .choices(['average', 'both'])
        .default('average'),
    )
    .option('--class-names <file>', 'text file with a class name on each line; default: what the checkpoint says')
    .option('--trained-on <name>', 'name of the data set, for the record')
    .requiredOption('--output <file>', 'file to write; for huggingface, a folder')
    .addOption(json())
    .addHelpText(
      'after',
      examples(
        'deit export --weights runs/finetune-1 --output flowers.onnx',
        'deit export --weights runs/finetune-1 --dtype f16 --output flowers.safetensors',
        'deit export --weights runs/finetune-1 --format huggingface --output flowers',
      ),
    )
    .action(async (_options, command: Command) =>
      (await import('./export.ts')).exportModel({ ...command.optsWithGlobals() }),
    );
}
