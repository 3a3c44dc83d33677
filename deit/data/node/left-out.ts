/** An account of what a data set leaves out: each reason with its number and one example. */
export class LeftOut {
  private readonly reasons = new Map<string, { noun: string; reason: string; count: number; example: string }>();

  /**
   * `noun` and `reason` follow a number: "10", "file", "in HEIC format, which is not read". Of the examples the first by
   * name is kept, for folders are read several at a time.
   */
  add(noun: string, reason: string, example: string, count = 1): void {
    const key = `${noun} ${reason}`;
    const found = this.reasons.get(key);
    if (!found) {
      this.reasons.set(key, { noun, reason, count, example });
      return;
    }
    found.count += count;
    if (example < found.example) found.example = example;
  }

  /** As `add` takes them. */
  entries(): [noun: string, reason: string, example: string, count: number][] {
    return [...this.reasons.values()].map(({ noun, reason, count, example }) => [noun, reason, example, count]);
  }

  get isEmpty(): boolean {
    return this.reasons.size === 0;
  }

  /** In the order of the reasons: "10 files in HEIC format, which is not read (for example dog/000.HEIC); 1 file of no image format (notes.txt)". */
  toString(): string {
    const sorted = [...this.reasons].sort(([a], [b]) => (a < b ? -1 : 1));
    const parts = sorted.map(([, { noun, reason, count, example }]) =>
      count === 1 ? `1 ${noun} ${reason} (${example})` : `${count} ${noun}s ${reason} (for example ${example})`,
    );
    return parts.join('; ');
  }
}
