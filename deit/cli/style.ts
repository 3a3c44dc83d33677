import { styleText } from 'node:util';

/** Text in a colour or weight where standard error is a terminal that has them. Node heeds NO_COLOR and FORCE_COLOR in that. */
export const styled = (style: 'bold' | 'dim' | 'red' | 'green', text: string): string =>
  process.stderr.isTTY && process.stderr.hasColors() ? styleText(style, text) : text;
