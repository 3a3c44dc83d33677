/** The event file of a run: its bytes as TensorBoard's own writer makes them, and what TensorBoard's own reader finds in it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { TensorBoardFile, crc32c } from '../../deit/train/node/tensorboard-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'deit-board-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.useRealTimers());

const content = (name: string): Buffer => {
  const [file] = readdirSync(join(folder, name));
  return readFileSync(join(folder, name, file));
};

/**
 * By tensorboard 2.x's RecordWriter: Event(wall_time=1.5, file_version='brain.Event:2'), then Event(wall_time=1.5, step=7) with
 * student/loss 0.25 and student/lr 0.001.
 */
const GOLDEN =
  '1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c3500000000000000d6c55de609000000000000f83f' +
  '10072a280a130a0c73747564656e742f6c6f7373150000803e0a110a0a73747564656e742f6c72156f12833a9c30c5ba';

/** A Python that has TensorBoard, if there is one: PYTHON names it. */
const python = process.env.PYTHON ?? 'python3';
const hasTensorBoard = spawnSync(python, ['-c', 'import tensorboard']).status === 0;

const READ = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}))
`;

describe('event files', () => {
  it('have the checksum that RFC 3720 (B.4) states for CRC-32C', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
  });

  it("are those of TensorBoard's own writer, byte by byte", () => {
    vi.useFakeTimers({ now: 1500 });
    const file = new TensorBoardFile(join(folder, 'golden'));
    file.append({ role: 'student', step: 7, steps: 9, secondsLeft: 3, loss: 0.25, lossDistillation: null, lr: 0.001 });
    file.close();
    expect(content('golden').toString('hex')).toBe(GOLDEN);
  });

  const run = (name: string): void => {
    const first = new TensorBoardFile(join(folder, name));
    first.append({ role: 'teacher', step: 4, loss: 4 });
    for (const step of [1, 2, 3]) first.append({ role: 'student', step, loss: 1 / step, nonFinite: NaN });
    first.append({
      role: 'student',
      step: 3,
      accuracy: { average: 0.5, images: 10 },
      ema: { average: 0.75, images: 10 },
    });
    first.close();
    // A kill in the middle of a record.
    appendFileSync(join(folder, name, readdirSync(join(folder, name))[0]), Buffer.from([9, 0, 0]));
    const second = new TensorBoardFile(join(folder, name));
    second.cut(({ role, step }) => role === 'teacher' || Number(step) <= 1);
    for (const step of [2, 3]) second.append({ role: 'student', step, loss: 10 * step });
    second.append({ role: 'student', step: 3, accuracy: { average: 0.25, images: 10 }, ema: null });
    second.close();
  };

  it('go on after a resumption without a step twice', () => {
    run('resumed');
    const once = content('resumed');
    expect(readdirSync(join(folder, 'resumed'))).toHaveLength(1);
    expect(once.toString('latin1').match(/student\/loss/g)).toHaveLength(3);
    expect(once.toString('latin1').match(/student\/held_out\/average/g)).toHaveLength(1);
    expect(once.toString('latin1')).not.toContain('held_out_ema');
  });

  it.skipIf(!hasTensorBoard)("are read by TensorBoard's own reader", () => {
    run('read');
    const found = JSON.parse(execFileSync(python, ['-c', READ, join(folder, 'read')]).toString()) as object;
    expect(found).toEqual({
      'teacher/loss': [[4, 4]],
      'student/loss': [
        [1, 1],
        [2, 20],
        [3, 30],
      ],
      'student/held_out/average': [[3, 0.25]],
    });
  });
});
