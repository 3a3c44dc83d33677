/** A web server for one folder, on localhost. Node only; for trying the page and for its test. */
import { open, realpath } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
};

/** Serves the files of a folder, links followed only inside it; port 0 takes any that is free. */
export async function serveFolder(folder: string, port = 0): Promise<{ url: string; close(): Promise<void> }> {
  const root = await realpath(folder);
  const server = createServer((request, response) => {
    // A client that goes away in the middle is its own affair.
    answer(root, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(root: string, { method, url = '/' }: IncomingMessage, response: ServerResponse): Promise<void> {
  response.setHeader('x-content-type-options', 'nosniff');
  if (method !== 'GET' && method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD', 'content-length': 0 }).end();
    return;
  }
  const path = await fileOf(root, url);
  // Opened once: what is looked at is what is sent.
  const file = path === null ? null : await open(path, 'r').catch(() => null);
  try {
    if (!file || !(await sendHead(file, path!, response))) response.writeHead(404, { 'content-length': 0 }).end();
    else if (method === 'HEAD') response.end();
    else await pipeline(file.createReadStream({ autoClose: false }), response);
  } finally {
    await file?.close();
  }
}

/** The file that an address names; null where there is none inside the root. */
async function fileOf(root: string, url: string): Promise<string | null> {
  try {
    const path = decodeURIComponent(url.replace(/[?#].*$/s, ''));
    if (!path.startsWith('/') || path.includes('\0')) return null;
    const file = await realpath(join(root, path.endsWith('/') ? `${path}index.html` : path));
    return file.startsWith(root.endsWith(sep) ? root : root + sep) ? file : null;
  } catch {
    return null;
  }
}

/** Writes the head of the answer; false for what is no file, such as a folder. */
async function sendHead(file: FileHandle, path: string, response: ServerResponse): Promise<boolean> {
  const stats = await file.stat();
  if (!stats.isFile()) return false;
  const type = TYPES[extname(path)] ?? 'application/octet-stream';
  response.writeHead(200, { 'content-type': type, 'content-length': stats.size });
  return true;
}
