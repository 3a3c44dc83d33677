/** What a request is refused with. */
import type { Context, Hono } from 'hono';
import type { DeitError } from '../../engine/index.ts';

/** Statuses that requests are refused with, and the code of each in the answer. */
const codes = {
  400: 'bad-request',
  404: 'not-found',
  405: 'method-not-allowed',
  413: 'too-large',
  415: 'unsupported-type',
  429: 'too-many-requests',
  503: 'busy',
} as const;

export class Refusal extends Error {
  readonly code: string;

  constructor(
    readonly status: keyof typeof codes,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
    code: string = codes[status],
  ) {
    super(message);
    this.code = code;
  }
}

/** The refusal of an image, from what decoding it has thrown. Its advice is for the `deit` command. */
export const ofImage = (code: DeitError['code'], message: string): Refusal =>
  new Refusal(400, message.replace(/\n {2}fix: [^]*$/, '').replace(/^\[[\w-]+\] /, ''), {}, code);

export const notAllowed = (methods: string): Refusal => new Refusal(405, `Expected: ${methods}.`, { allow: methods });

export const refused = (context: Context, { status, code, message, headers }: Refusal): Response =>
  context.json({ error: { code, message } }, status, { ...headers });

/** What becomes of requests for which an application has no route. */
export function refuseTheRest(app: Hono): void {
  app.notFound((context) => {
    const isReading = ['GET', 'HEAD'].includes(context.req.method);
    return refused(context, isReading ? new Refusal(404, 'There is nothing here.') : notAllowed('GET, HEAD'));
  });
}
