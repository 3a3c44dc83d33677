/** Lets an application answer on a port. Node only. */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Hono } from 'hono';

export interface Listening {
  readonly url: string;
  /** Takes no more connections, and resolves when what is under way has been answered, or cut off after so many milliseconds. */
  close(graceMs?: number): Promise<void>;
}

/** What a client has to send its headers, and a whole request, in milliseconds. */
const [HEADERS_MS, REQUEST_MS] = [10_000, 60_000];
const CONNECTIONS = 1024;

/** Port 0 takes any that is free. Rejects with the error of the system, such as EADDRINUSE. */
export async function listen(app: Hono, { host = '127.0.0.1', port = 0 } = {}): Promise<Listening> {
  const serverOptions = { headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS };
  const server = createAdaptorServer({ fetch: app.fetch, overrideGlobalObjects: false, serverOptions }) as Server;
  server.maxConnections = CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const { port: taken, address, family } = server.address() as AddressInfo;
  const name = address === '127.0.0.1' ? 'localhost' : family === 'IPv6' ? `[${address}]` : address;
  return {
    url: `http://${name}:${taken}/`,
    close: (graceMs = 0) =>
      new Promise((resolve) => {
        const cut = setTimeout(() => server.closeAllConnections(), graceMs);
        server.close(() => {
          clearTimeout(cut);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}
