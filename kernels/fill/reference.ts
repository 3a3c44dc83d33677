/** n times the f32 number nearest to the value. */
export const fillReference = (n: number, value: number): number[] => new Array<number>(n).fill(Math.fround(value));
