#!/usr/bin/env node
import { run } from './run.ts';
import { watchOutput } from './streams.ts';

watchOutput();
process.exitCode = await run(process.argv.slice(2));
