/** Models of the Hugging Face hub by name: fetched once into the cache and verified. Node only. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { DeitError, cacheFolder, writeFileAtomically } from '../../../engine/node.ts';
import { CONFIG, PREPROCESSOR, WEIGHTS } from './model-folder.ts';

const PREFIX = 'hf:';
const SMALL_FILE = 1 << 20;

export const isHubName = (name: string): boolean => name.startsWith(PREFIX);

/** A file of a repository, and the checksum that the hub has for it: SHA-256 of large files, else git's of a blob. */
const fileSchema = v.object({
  rfilename: v.string(),
  size: v.pipe(v.number(), v.integer(), v.minValue(0)),
  blobId: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{40}$/))),
  lfs: v.optional(v.object({ sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)) })),
});
type HubFile = v.InferOutput<typeof fileSchema>;

/** The part that is used of the answer of `GET /api/models/OWNER/NAME/revision/REVISION?blobs=true`. */
const repositorySchema = v.object({
  sha: v.pipe(v.string(), v.regex(/^[0-9a-f]{40}$/)),
  siblings: v.array(fileSchema),
});

interface HubName {
  readonly id: string;
  readonly revision: string;
}

/**
 * Folder with config.json, model.safetensors and, where there is one, preprocessor_config.json of `hf:OWNER/NAME` or
 * `hf:OWNER/NAME@REVISION` (a branch, tag or commit; default `main`). It asks the hub which commit that is, and fetches what the
 * cache does not have of it. Where the hub cannot be reached, what it fetched last under this name. As huggingface_hub, it heeds
 * HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE. Throws `unknown-name`, `file-unreadable`, `file-corrupt` or `file-unwritable`.
 */
export async function hubModel(name: string): Promise<{ path: string; note: string }> {
  const hub = parseName(name);
  const cache = join(cacheFolder(), 'hub', hub.id.replace('/', '--'));
  const fetchedLast = join(cache, `${encodeURIComponent(hub.revision)}.revision`);
  const repository = await askHub(hub, name);
  if (repository === null) return fetchedBefore(hub, cache, fetchedLast);

  const files = new Map(repository.siblings.map((file) => [file.rfilename, file]));
  for (const needed of [CONFIG, WEIGHTS]) {
    if (files.has(needed)) continue;
    throw new DeitError('file-unreadable', `The model on the hub has no ${needed}.`, {
      where: pageOf(hub),
      expected: 'a model of transformers or timm, in one safetensors file',
      fix: 'convert it there (pytorch_model.bin is not read), or take another model',
    });
  }
  const path = join(cache, repository.sha);
  mkdirSync(path, { recursive: true });
  let fetched = 0;
  for (const wanted of [CONFIG, PREPROCESSOR, WEIGHTS]) {
    const file = files.get(wanted);
    if (!file || existsSync(join(path, wanted))) continue;
    await fetchFile(hub, repository.sha, file, join(path, wanted));
    fetched += file.size;
  }
  await writeFileAtomically(fetchedLast, [Buffer.from(repository.sha)]);
  const commit = `commit ${repository.sha.slice(0, 12)} of ${pageOf(hub)}`;
  return {
    path,
    note: fetched > 0 ? `fetched ${(fetched / 1e6).toFixed(1)} MB: ${commit}` : `in the cache: ${commit}`,
  };
}

function parseName(name: string): HubName {
  const [, id, revision = 'main'] = /^hf:([\w-][\w.-]*\/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?$/.exec(name) ?? [];
  if (id) return { id, revision };
  throw new DeitError('unknown-name', 'A model of the Hugging Face hub is named in another way.', {
    expected: 'hf:OWNER/NAME or hf:OWNER/NAME@REVISION, for example hf:facebook/deit-tiny-patch16-224',
    found: name,
  });
}

const endpoint = (): string => (process.env.HF_ENDPOINT ?? 'https://huggingface.co').replace(/\/+$/, '');
const pageOf = ({ id }: HubName): string => `${endpoint()}/${id}`;

/** What the hub has under the name; null where it cannot be reached. */
async function askHub(hub: HubName, name: string): Promise<v.InferOutput<typeof repositorySchema> | null> {
  if (/^(1|on|yes|true)$/i.test(process.env.HF_HUB_OFFLINE ?? '')) return null;
  const url = `${endpoint()}/api/models/${hub.id}/revision/${encodeURIComponent(hub.revision)}?blobs=true`;
  const response = await request(url, AbortSignal.timeout(30_000)).catch(() => null);
  if (response === null || response.status >= 500) return null;
  // The hub answers 401 for names that it does not have, too.
  if ([401, 403, 404].includes(response.status)) {
    throw new DeitError('unknown-name', 'The hub has no such model, or does not show it to everybody.', {
      where: url,
      found: `${name}: HTTP status ${response.status}`,
      fix: 'correct the name or revision; for a private or gated model set HF_TOKEN',
    });
  }
  if (!response.ok) throw unexpected(url, `HTTP status ${response.status}`);
  const answer = v.safeParse(repositorySchema, await response.json().catch(() => null));
  if (!answer.success) throw unexpected(url, v.summarize(answer.issues).slice(0, 500));
  return answer.output;
}

function request(url: string, signal: AbortSignal | null = null): Promise<Response> {
  const token = process.env.HF_TOKEN;
  return fetch(url, { headers: token ? { authorization: `Bearer ${token}` } : {}, signal });
}

async function fetchFile(hub: HubName, commit: string, file: HubFile, path: string): Promise<void> {
  const url = `${pageOf(hub)}/resolve/${commit}/${file.rfilename}`;
  if (file.rfilename !== WEIGHTS && file.size > SMALL_FILE) throw unexpected(url, `${file.size} bytes of settings`);
  const response = await request(url).catch((cause: unknown) => {
    throw unexpected(url, String(cause));
  });
  if (!response.ok || !response.body) throw unexpected(url, `HTTP status ${response.status}`);
  await writeFileAtomically(path, verified(response.body, file, url));
}

/** Hands the pieces on, and throws `file-corrupt` at the end, before the file has its name, if they are not what the hub lists. */
async function* verified(body: AsyncIterable<Uint8Array>, file: HubFile, url: string): AsyncGenerator<Uint8Array> {
  const expected = file.lfs?.sha256 ?? file.blobId;
  const hash = file.lfs ? createHash('sha256') : createHash('sha1').update(`blob ${file.size}\0`);
  let bytes = 0;
  try {
    for await (const piece of body) {
      bytes += piece.byteLength;
      if (bytes > file.size) break;
      hash.update(piece);
      yield piece;
    }
  } catch (cause) {
    throw unexpected(url, `the connection ended after ${bytes} of ${file.size} bytes: ${String(cause)}`);
  }
  const found = hash.digest('hex');
  if (bytes === file.size && (expected === undefined || found === expected)) return;
  throw new DeitError('file-corrupt', 'The hub sent another file than it lists; nothing of it was kept.', {
    where: url,
    expected: `${file.size} bytes${expected ? `, checksum ${expected}` : ''}`,
    found: bytes === file.size ? `checksum ${found}` : `${bytes > file.size ? 'more' : `${bytes}`} bytes`,
    fix: 'try again; if it stays so, a proxy on the way changes files',
  });
}

function fetchedBefore(hub: HubName, cache: string, fetchedLast: string): { path: string; note: string } {
  const commits = [hub.revision, ...(existsSync(fetchedLast) ? [readFileSync(fetchedLast, 'utf8').trim()] : [])];
  const commit = commits.find((commit) => /^[0-9a-f]{40}$/.test(commit) && existsSync(join(cache, commit, WEIGHTS)));
  if (commit) {
    return { path: join(cache, commit), note: `the hub was not asked; fetched before: commit ${commit.slice(0, 12)}` };
  }
  throw new DeitError('file-unreadable', 'The hub cannot be reached, and the model is not in the cache.', {
    where: pageOf(hub),
    fix:
      `on a machine with network open ${pageOf(hub)}/tree/${hub.revision}, download ${CONFIG}, ${PREPROCESSOR} (where there is one) ` +
      `and ${WEIGHTS} into one folder, and name that folder`,
  });
}

const unexpected = (where: string, found: string): DeitError =>
  new DeitError('file-unreadable', 'The hub did not answer as it should.', {
    where,
    found,
    fix: 'try again, or download the files in a browser and name their folder',
  });
