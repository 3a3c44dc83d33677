import { describe, expect, it } from 'vitest';
import { matrixThreads, matrixTile } from '../../../kernels/lib/matrix-tile.ts';
import type { DeviceProfile } from '../../../kernels/lib/device.ts';
import { matricesOf, MATRIX_GPU } from '../../support/subgroup-matrix.ts';

describe('a tile of fragments', () => {
  it('is there on devices that have its memory and lanes, to the last of them', () => {
    // 16 x 16 matrices, 32 lanes: 128 x 128 elements of 2 x 4 subgroups.
    const tile = matrixTile(8, 8, MATRIX_GPU)!;
    expect([tile.side, tile.rows, tile.columns, matrixThreads(tile)]).toEqual([16, 128, 128, 256]);
    // Operands in f16, 32 steps of k and 8 more of padding; a fragment of f32 for each subgroup.
    const bytes = 2 * (128 + 128) * (32 + 8) + 4 * 8 * 16 * 16;
    const device: DeviceProfile = { ...MATRIX_GPU, maxWorkgroupStorage: bytes, maxInvocationsPerWorkgroup: 256 };
    expect(matrixTile(8, 8, device)).toEqual(tile);
    expect(matrixTile(8, 8, { ...device, maxWorkgroupStorage: bytes - 1 })).toBeNull();
    expect(matrixTile(8, 8, { ...device, maxInvocationsPerWorkgroup: 255 })).toBeNull();
    const tall = 2 * (128 + 64) * (32 + 8) + 4 * 4 * 16 * 16;
    expect(matrixTile(8, 4, { ...device, maxWorkgroupStorage: tall })).toMatchObject({ rows: 128, columns: 64 });
    expect(matrixTile(8, 4, { ...device, maxWorkgroupStorage: tall - 1 })).toBeNull();
  });

  it('is of the largest square matrices that blocks of k and the lanes divide into', () => {
    const sideOf = (sides: readonly number[], subgroupSize = 32): number | undefined =>
      matrixTile(4, 4, { ...MATRIX_GPU, subgroupSize, subgroupMatrix: sides.flatMap(matricesOf) })?.side;
    expect(sideOf([8, 16])).toBe(16);
    expect(sideOf([16, 64])).toBe(16);
    expect(sideOf([24])).toBeUndefined();
    // Four elements a lane are no whole rows of a fragment.
    expect(sideOf([16], 2)).toBeUndefined();
    expect(sideOf([8, 16], 2)).toBe(8);
    expect(sideOf([])).toBeUndefined();
    expect(sideOf([16], 0)).toBeUndefined();
  });
});
