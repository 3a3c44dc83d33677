import type { Launch } from '../../kernels/lib/kernel.ts';
import type { PipelineEntry } from './pipeline-builder.ts';
import type { Reader } from './reader.ts';
import type { Download, Upload } from './staging-buffers.ts';
import type { Storage } from './storage.ts';

/** A region of a storage that a command touches. */
export interface Region {
  readonly storage: Storage;
  readonly offset: number;
  readonly size: number;
}

export interface DispatchCommand {
  readonly kind: 'dispatch';
  /** Operator and shapes, for errors and profiles. */
  readonly where: string;
  readonly launch: Launch;
  readonly pipeline: PipelineEntry;
  readonly regions: readonly Region[];
}
export interface CopyCommand {
  readonly kind: 'copy';
  readonly from: Region;
  readonly to: Region;
}
export interface WriteCommand {
  readonly kind: 'write';
  readonly to: Region;
  readonly data: Uint8Array<ArrayBuffer>;
}
export interface ReadCommand {
  readonly kind: 'read';
  readonly from: Region;
  readonly reader: Reader;
}
export interface DownloadCommand {
  readonly kind: 'download';
  readonly from: readonly Region[];
  readonly to: Download;
}
export interface UploadCommand {
  readonly kind: 'upload';
  readonly from: Upload;
  readonly to: readonly Region[];
}
export interface FreeCommand {
  readonly kind: 'free';
  readonly storage: Storage;
}
export type Command =
  DispatchCommand | CopyCommand | WriteCommand | ReadCommand | DownloadCommand | UploadCommand | FreeCommand;

export function regionsOf(command: Command): readonly Region[] {
  switch (command.kind) {
    case 'dispatch':
      return command.regions;
    case 'copy':
      return [command.from, command.to];
    case 'write':
      return [command.to];
    case 'read':
      return [command.from];
    case 'download':
      return command.from;
    case 'upload':
      return command.to;
    case 'free':
      return [];
  }
}

/** The regions that a command writes to. */
export function writtenBy(command: Command): readonly Region[] {
  switch (command.kind) {
    case 'dispatch':
      return command.regions.filter((_, i) => command.launch.bindings[i].access === 'read_write');
    case 'copy':
    case 'write':
      return [command.to];
    case 'upload':
      return command.to;
    case 'read':
    case 'download':
    case 'free':
      return [];
  }
}
