/** WGSL that is written out, line by line, where a loop's index must be a constant. */

/** 0, 1, ..., count - 1. */
export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

export const lines = (count: number, line: (i: number) => string): string => range(count).map(line).join('\n');
