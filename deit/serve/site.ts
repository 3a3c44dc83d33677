/** The files of a web site, and a route that serves them. Node only. */
import { createReadStream } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { Readable } from 'node:stream';
import type { Context, Hono } from 'hono';
import { getMimeType } from 'hono/utils/mime';

/** Paths of files by their addresses, which begin with `/`. */
export type Site = ReadonlyMap<string, string>;

/** Every file of a folder, links followed only inside it. What is added to the folder later is not served. */
export async function siteOf(folder: string): Promise<Site> {
  const root = await realpath(folder);
  const files = new Map<string, string>();
  for (const name of await readdir(root, { recursive: true })) {
    const path = await realpath(join(root, name)).catch(() => null);
    if (path === null || !path.startsWith(root + sep) || !(await stat(path)).isFile()) continue;
    files.set(`/${name.split(sep).join('/')}`, path);
  }
  return files;
}

/** Answers GET and HEAD of the files of a site, of `/` with its index.html. Everything else is left to other routes. */
export function serveSite(app: Hono, site: Site): void {
  app.get('*', async (context, next) => {
    const path = site.get(addressOf(context));
    return path === undefined ? next() : answer(context, path);
  });
}

function addressOf({ req }: Context): string {
  try {
    const address = decodeURIComponent(new URL(req.url).pathname);
    return address === '/' ? '/index.html' : address;
  } catch {
    return '';
  }
}

async function answer(context: Context, path: string): Promise<Response> {
  const type = getMimeType(path) ?? 'application/octet-stream';
  const { size } = await stat(path);
  const headers = { 'content-type': type, 'content-length': String(size) };
  if (context.req.method === 'HEAD') return context.body(null, 200, headers);
  return context.body(Readable.toWeb(createReadStream(path)) as ReadableStream, 200, headers);
}
