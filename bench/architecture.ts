/**
 * `npm run architecture` draws ARCHITECTURE.svg from the imports of the source: the floors, the folders in each, and which
 * imports which. `npm run architecture -- --check` fails where the committed picture is no longer true.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { instance } from '@viz-js/viz';
import ts from 'typescript';

const PICTURE = 'ARCHITECTURE.svg';
/** The lowest first. A floor may import only from floors before it. */
const floors = ['kernels', 'engine', 'nn', 'deit'];
/** Floors whose folders are drawn. The others have one folder for each operator, or none. */
const opened = new Set(['engine', 'deit']);
/** What a floor offers to others: these files import all of it, and say nothing about who needs whom. */
const entries = new Set(['index.ts', 'node.ts']);

type Edges = Map<string, Set<string>>;

const floorOf = (folder: string): string => folder.split('/')[0];

/** The box that a file is drawn in: `engine/gpu`, `deit/train`, or `engine/*.ts` for those in no folder. */
function folderOf(file: string): string {
  const [floor, folder, ...rest] = file.split('/');
  return opened.has(floor) && rest.length > 0 ? `${floor}/${folder}` : `${floor}/*${opened.has(floor) ? '.ts' : ''}`;
}

const sourceFiles = (floor: string): string[] =>
  readdirSync(floor, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !entries.has(name))
    .map((name) => `${floor}/${name}`)
    .sort();

/** Files that a TypeScript file imports by relative paths, types included. */
function importsOf(file: string): string[] {
  const { importedFiles } = ts.preProcessFile(readFileSync(file, 'utf8'));
  return importedFiles
    .map(({ fileName }) => fileName)
    .filter((name) => name.startsWith('.') && name.endsWith('.ts'))
    .map((name) => relative('.', join(dirname(file), name)));
}

function readImports(): { folders: string[]; edges: Edges } {
  const folders = new Set<string>();
  const edges: Edges = new Map();
  const add = (from: string, to: string): void => {
    if (from !== to) edges.set(from, (edges.get(from) ?? new Set()).add(to));
  };
  for (const file of floors.flatMap(sourceFiles)) {
    const folder = folderOf(file);
    folders.add(folder);
    for (const target of importsOf(file)) {
      const to = folderOf(target);
      if (floorOf(to) !== floorOf(folder)) add(floorOf(folder), floorOf(to));
      else if (!entries.has(relative(floorOf(to), target))) add(folder, to);
    }
  }
  return { folders: [...folders].sort(), edges };
}

/** Without the edges that a longer path implies, so that the picture can be read. Edges within a circle all stay. */
function reduced(edges: Edges): [string, string][] {
  const isReachable = (from: string, to: string, seen = new Set([from])): boolean =>
    [...(edges.get(from) ?? [])].some(
      (next) => next === to || (!seen.has(next) && isReachable(next, to, seen.add(next))),
    );
  const isImplied = (from: string, to: string): boolean =>
    [...edges.get(from)!].some(
      (other) => other !== to && isReachable(other, to) && !isReachable(other, from) && !isReachable(to, other),
    );
  return [...edges].flatMap(([from, targets]) =>
    [...targets].filter((to) => !isImplied(from, to)).map((to): [string, string] => [from, to]),
  );
}

/** The picture in Graphviz's language. */
function graph(): string {
  const { folders, edges } = readImports();
  const clusters = floors.map((floor) => {
    const own = folders.filter((folder) => floorOf(folder) === floor);
    const boxes = own.map((folder) => `    "${folder}";`);
    return `  subgraph "cluster_${floor}" {\n    label="${floor}";\n${boxes.join('\n')}\n  }`;
  });
  const targets = new Set([...edges.values()].flatMap((to) => [...to]));
  // Floors are joined from a folder that imports nothing of its floor to one that nothing imports, so that they lie below each other.
  const lowest = (floor: string): string => folders.find((name) => floorOf(name) === floor && !edges.has(name))!;
  const highest = (floor: string): string => folders.find((name) => floorOf(name) === floor && !targets.has(name))!;
  const arrows = reduced(edges).map(([from, to]) =>
    floorOf(from) === floorOf(to)
      ? `  "${from}" -> "${to}";`
      : `  "${lowest(from) ?? highest(from)}" -> "${highest(to) ?? lowest(to)}" [ltail="cluster_${from}", lhead="cluster_${to}", penwidth=2.5];`,
  );
  return `digraph {
  compound=true; rankdir=TB; bgcolor="white"; fontname="Helvetica"; fontsize=18; nodesep=0.3; ranksep=0.4; style="rounded,filled";
  color="#d0d7de"; fillcolor="#f6f8fa";
  node [shape=box, style="rounded,filled", color="#57606a", fillcolor="white", fontname="Helvetica", fontsize=13];
  edge [color="#57606a", arrowsize=0.7];
${[...clusters, ...arrows.sort()].join('\n')}
}`;
}

const svg = `${(await instance()).renderString(graph(), { format: 'svg' }).trim()}\n`;
if (!process.argv.includes('--check')) writeFileSync(PICTURE, svg);
else if (readFileSync(PICTURE, 'utf8') !== svg) {
  console.error(`${PICTURE} does not show the imports as they are: run npm run architecture and commit the picture`);
  process.exitCode = 1;
}
