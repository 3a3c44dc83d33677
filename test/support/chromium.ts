import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import type { BrowserContext } from 'playwright-core';

/** An installed Chromium or Chrome; CHROMIUM_PATH names another one. */
export function findChromium(): string | null {
  const candidates = [
    process.env.CHROMIUM_PATH,
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome',
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
  ];
  return candidates.find((path) => path !== undefined && existsSync(path)) ?? null;
}

/** A browser with WebGPU on its software adapter, and without any traffic of its own. */
export function launchChromium(executablePath: string, flags: readonly string[] = []): Promise<BrowserContext> {
  return chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), 'deit-chromium-')), {
    executablePath,
    // Where a test runs on the embedded adapter, these name its driver; Chromium has its own.
    env: { ...process.env, VK_DRIVER_FILES: undefined, VK_ICD_FILENAMES: undefined },
    headless: true,
    viewport: { width: 1100, height: 900 },
    args: [
      '--no-sandbox',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...flags,
    ],
  });
}
