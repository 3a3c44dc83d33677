/** Reading folders of images: names in order, links followed without going in circles, an account of what is left out. Node only. */
import { opendir, realpath, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import { isImageName, otherFormatOf, sortNames } from './file-names.ts';
import { LeftOut } from './left-out.ts';

/** What to do with symbolic links that lead out of the folder of a data set. */
export type LinkPolicy = 'follow' | 'inside';

/** A folder on the way down from the root of a data set. */
export interface Folder {
  readonly path: string;
  /** Where it lies once links are followed. */
  readonly real: string;
  readonly parent: Folder | null;
}

/** What a folder holds, but for hidden files and folders; both lists in order. */
export interface Listing {
  /** Folders, and links to folders. */
  readonly folders: string[];
  readonly files: string[];
  /** Those of the folders that are links. */
  readonly linked: ReadonlySet<string>;
}

export interface Listed {
  readonly folder: Folder;
  readonly listing: Listing;
}

/** Image files of one folder. */
export interface FolderImages {
  readonly folder: string;
  readonly names: string[];
}

/** Folders that systems and archivers leave behind. */
const SYSTEM_FOLDERS = new Set(['__MACOSX', '@eaDir', 'lost+found', '$RECYCLE.BIN', 'System Volume Information']);

/** Folders that are read at a time. */
const AT_ONCE = 8;

export class Scanner {
  readonly leftOut = new LeftOut();
  /** Linked folders that lie elsewhere, by their paths in the data set. */
  readonly outside: string[] = [];

  private constructor(
    readonly root: Folder,
    private readonly links: LinkPolicy,
  ) {}

  /** Of a folder that exists. */
  static async open(path: string, links: LinkPolicy = 'follow'): Promise<Scanner> {
    return new Scanner({ path, real: await realPath(path), parent: null }, links);
  }

  /** A path as messages name it. */
  nameOf(path: string): string {
    return relative(this.root.path, path) || path;
  }

  /** The folder `name` in `folder`, which holds `listing`; null, and accounted for, if it is a link back to a folder that it lies in. */
  async enter(folder: Folder, name: string, { linked }: Listing): Promise<Folder | null> {
    const path = join(folder.path, name);
    if (!linked.has(name)) return { path, real: join(folder.real, name), parent: folder };
    const real = await realPath(path);
    for (let above: Folder | null = folder; above; above = above.parent) {
      if (!isInside(above.real, real)) continue;
      this.leftOut.add('link', 'back to a folder that it lies in', this.nameOf(path));
      return null;
    }
    if (!isInside(real, this.root.real)) this.outside.push(this.nameOf(path));
    return { path, real, parent: folder };
  }

  /** Reads a folder. Throws `file-unreadable`, naming it. */
  async list(folder: Folder): Promise<Listing> {
    const folders: string[] = [];
    const files: string[] = [];
    const linked = new Set<string>();
    try {
      // Entry by entry: a folder may hold a million.
      for await (const entry of await opendir(folder.path, { bufferSize: 512 })) {
        const { name } = entry;
        if (name.startsWith('.') || SYSTEM_FOLDERS.has(name)) {
          if (isImageName(name))
            this.leftOut.add('hidden file', 'named as an image', this.nameOf(join(folder.path, name)));
          continue;
        }
        if (!entry.isSymbolicLink()) {
          (entry.isDirectory() ? folders : files).push(name);
          continue;
        }
        const link = join(folder.path, name);
        if (this.links === 'inside') await this.checkInside(link);
        if (await leadsToFolder(link)) linked.add(folders[folders.push(name) - 1]);
        else files.push(name);
      }
    } catch (cause) {
      throw cause instanceof DeitError ? cause : unreadable(folder.path, cause);
    }
    return { folders: sortNames(folders), files: sortNames(files), linked };
  }

  /**
   * Image files at any depth below a folder, in the order of their paths. Other files are accounted for.
   * `listing` is what the folder holds, if that was read before.
   */
  async images(folder: Folder, listing?: Listing): Promise<FolderImages[]> {
    const listed = listing ?? (await this.list(folder));
    const { folders, files } = listed;
    const found: FolderImages[] = [];
    let names: string[] = [];
    const isFolder = new Set(folders);
    for (const name of folders.length === 0 ? files : sortNames([...folders, ...files])) {
      if (!isFolder.has(name)) {
        if (isImageName(name)) names.push(name);
        else this.passOver(join(folder.path, name));
        continue;
      }
      const inner = await this.enter(folder, name, listed);
      if (!inner) continue;
      if (names.length > 0) found.push({ folder: folder.path, names });
      names = [];
      for (const part of await this.images(inner)) found.push(part);
    }
    if (names.length > 0) found.push({ folder: folder.path, names });
    return found;
  }

  /** The folders in a folder, each with what it holds. */
  async children({ folder, listing }: Listed): Promise<Listed[]> {
    const entered = await Promise.all(listing.folders.map((name) => this.enter(folder, name, listing)));
    return fewAtOnce(
      entered.filter((inner) => inner !== null),
      async (inner) => ({ folder: inner, listing: await this.list(inner) }),
    );
  }

  /** Image files of several folders, in the order of the folders. */
  imagesOfEach(folders: readonly Listed[]): Promise<FolderImages[][]> {
    return fewAtOnce(folders, ({ folder, listing }) => this.images(folder, listing));
  }

  /** Accounts for a file that is not decoded. */
  passOver(path: string): void {
    const format = otherFormatOf(path);
    const reason = format ? `in ${format} format, which is not read` : 'of no image format';
    this.leftOut.add('file', reason, this.nameOf(path));
  }

  private async checkInside(link: string): Promise<void> {
    const real = await realpath(link).catch(() => null);
    // A broken link is found out when it is read.
    if (real !== null && !isInside(real, this.root.real)) throw leadsOut(link, real, this.root.path);
  }
}

/** Does a few things at a time; results in order. */
async function fewAtOnce<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const at = next++;
      results[at] = await work(items[at]);
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, worker));
  return results;
}

const realPath = (folder: string): Promise<string> =>
  realpath(folder).catch((cause: unknown) => {
    throw unreadable(folder, cause);
  });

const leadsToFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/** Whether a path is a folder, or lies inside of it; both without links. */
const isInside = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);

const unreadable = (folder: string, cause: unknown): DeitError =>
  new DeitError('file-unreadable', 'A folder of images cannot be read.', {
    where: folder,
    found: cause instanceof Error ? cause.message : String(cause),
    fix: 'Name an existing folder with one folder of images a class.',
    cause,
  });

const leadsOut = (link: string, real: string, root: string): DeitError =>
  new DeitError('bad-data', 'A link leads out of the folder of its data set.', {
    where: link,
    expected: `a file or folder inside ${root}`,
    found: real,
    fix: 'Copy what it leads to into the folder, or allow such links with data.links=follow.',
  });
