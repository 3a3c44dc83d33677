import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openFolder, smallOverrides, trainInProcess } from '../../bench/drills/in-process.ts';
import { kill } from '../../bench/drills/kill.ts';
import { deviceLoss } from '../../bench/drills/device-loss.ts';
import { nan } from '../../bench/drills/nan.ts';
import { add, createEngine, findNonFinite, log, mul, sub } from '../../engine/node.ts';
import { existsSync, writeFileSync } from 'node:fs';

const folder = mkdtempSync(join(tmpdir(), 'deit-faults-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const drill = (name: string, count: number) => ({
  count,
  seed: 5,
  folder: mkdtempSync(join(folder, name)),
  say: () => undefined,
});

describe('findNonFinite', () => {
  it('names the operator that made the first NaN or infinity, and where', async () => {
    const engine = await createEngine();
    const x = engine.tensor([1, 2, 0, 4, 5, 6], [2, 3]);
    const found = await findNonFinite(engine, () => {
      const y = log(add(x, 1));
      const z = log(sub(y, y.detach()));
      mul(z, 2);
      engine.within('some.module', () => mul(x, Infinity));
    });
    // log(0) is -infinity in all six places; 0 * infinity is NaN and the rest infinite.
    expect(found.map(({ op, count, first, path }) => [op, count, first, path])).toEqual([
      ['log', 6, [0, 0], ''],
      ['mul', 6, [0, 0], ''],
      ['mul', 6, [0, 0], 'some.module'],
    ]);
    engine.close();
  });

  it('sees NaNs of either sign and infinities, not large or subnormal numbers, and no padding', async () => {
    const engine = await createEngine();
    const bits = new Float32Array(new Uint32Array([0x7f7fffff, 0x00000001, 0xffc00001, 0xff800000, 0x7f800001]).buffer);
    const x = engine.tensor(bits, [5]);
    const copied = await findNonFinite(engine, () => void add(x, x.detach()));
    // Twice the largest number is infinite too.
    expect(copied[0]).toMatchObject({ count: 4, first: [0] });
    engine.close();
  });
});

describe('drills in small', () => {
  it('kill -9 at random moments: every resumed run comes to the same weights', async () => {
    expect(await kill(drill('kill', 2))).toMatch(/^2 kills/);
  }, 400_000);

  it('devices destroyed in the middle of steps', async () => {
    expect(await deviceLoss(drill('device', 1))).toMatch(/^1 devices/);
  });

  it('NaN in an operator is named, and the resumed run is whole', async () => {
    expect(await nan(drill('nan', 1))).toMatch(/^1 kinds/);
  });
});

describe('a run folder', () => {
  it('is refused to a second run, and passes on from a run that was killed before it had begun', async () => {
    const overrides = { ...smallOverrides(), 'schedule.steps': 1 };
    const path = join(folder, 'locked');
    const first = await openFolder(path, overrides);
    // A lock of a process that is there, and began when the lock says so, is one of another run.
    const taken = `${process.ppid}`;
    first.close();
    expect(existsSync(join(path, 'run.lock'))).toBe(false);
    writeFileSync(join(path, 'run.lock'), `${taken} never`);
    const again = await openFolder(path, overrides, true);
    await trainInProcess({ overrides, folder: again });
    again.close();
  });
});
