import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Hono } from 'hono';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { refuseTheRest } from '../../deit/serve/refusal.ts';
import { listen } from '../../deit/serve/listen.ts';
import { serveSite, siteOf } from '../../deit/serve/site.ts';

async function application(site: string): Promise<Hono> {
  const app = new Hono();
  serveSite(app, await siteOf(site));
  refuseTheRest(app);
  return app;
}

let folder: string;
let server: { url: string; close(): Promise<void> };
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deit-serve-'));
  const write = (name: string, content: string): void => writeFileSync(join(folder, name), content);
  for (const name of ['site/sub', 'site-private']) mkdirSync(join(folder, name), { recursive: true });
  write('secret.txt', 'SECRET');
  write('site-private/secret.txt', 'SECRET');
  write('site/index.html', '<p>home');
  write('site/sub/a b.txt', 'inside');
  symlinkSync(join(folder, 'site/sub/a b.txt'), join(folder, 'site/near.txt'));
  symlinkSync(join(folder, 'secret.txt'), join(folder, 'site/far.txt'));
  symlinkSync(folder, join(folder, 'site/up'));
  symlinkSync(join(folder, 'nowhere'), join(folder, 'site/gone.txt'));
  server = await listen(await application(join(folder, 'site')));
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The answer to a request whose target goes out as it is: clients would tidy it up. */
function ask(target: string, method = 'GET'): Promise<{ status: number; head: string; body: string }> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
    let text = '';
    socket.on('error', reject);
    socket.on('data', (piece) => (text += piece.toString('latin1')));
    socket.on('end', () => {
      const [head, body] = text.split(/\r\n\r\n(.*)/s);
      resolve({ status: Number(head.split(' ')[1]), head, body });
    });
    socket.write(Buffer.from(`${method} ${target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`, 'latin1'));
  });
}

describe('the server of the page', () => {
  it('serves files, with their types, whole', async () => {
    expect(await ask('/')).toMatchObject({ status: 200, body: '<p>home' });
    const { status, head, body } = await ask('/sub/a%20b.txt?x=/../#y');
    expect([status, body]).toEqual([200, 'inside']);
    expect(head).toMatch(/content-type: text\/plain; charset=utf-8\r\n/);
    expect(head).toContain('content-length: 6');
    expect(await ask('/near.txt')).toMatchObject({ status: 200, body: 'inside' });
  });

  it.each([
    '/sub',
    '/sub/',
    '/absent.txt',
    '/../secret.txt',
    '/%2e%2e/secret.txt',
    '/..%2fsecret.txt',
    '/sub/..%2f..%2fsecret.txt',
    '/..%5csecret.txt',
    '/..\\secret.txt',
    '/../site-private/secret.txt',
    '/....//secret.txt',
    '/%252e%252e/secret.txt',
    '/far.txt',
    '/gone.txt',
    '/up/secret.txt',
    '/up/site/../secret.txt',
    '/index.html%00.txt',
    '/%00',
    '/%zz',
    '/%c0%ae%c0%ae/secret.txt',
    '//secret.txt',
    '/index.html/',
    'http://localhost/../secret.txt',
    '*',
    `/${'a'.repeat(5000)}`,
    `/${'a/'.repeat(5000)}`,
  ])('has nothing to give for %s', async (target) => {
    const { status, body } = await ask(target);
    // What is no request at all is refused before it is looked up.
    expect([400, 404]).toContain(status);
    expect(body).not.toMatch(/SECRET|inside|home/);
  });

  it('answers HEAD as GET without the file, and refuses other methods', async () => {
    const head = await ask('/index.html', 'HEAD');
    expect([head.status, head.body]).toEqual([200, '']);
    expect(head.head).toContain('content-length: 7');
    expect(await ask('/sub', 'HEAD')).toMatchObject({ status: 404, body: '' });
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']) {
      expect(await ask('/index.html', method)).toMatchObject({ status: 405, head: expect.stringContaining('allow: GET, HEAD') as string }); // prettier-ignore
    }
    expect(await ask('/')).toMatchObject({ status: 200 });
  });

  it('says that a port is taken', async () => {
    await expect(listen(new Hono(), { port: Number(new URL(server.url).port) })).rejects.toThrow('EADDRINUSE');
  });
});
