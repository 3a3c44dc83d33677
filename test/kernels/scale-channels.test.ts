import { describe, expect, it } from 'vitest';
import { autocast, scaleChannels, to } from '../../engine/node.ts';
import { scaleChannelsReference } from '../../kernels/scale-channels/reference.ts';
import { casesFor } from '../cases/channels.ts';
import { product } from '../support/arrays.ts';
import { expectClose, uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { HALF_UNIT, forProduct, rounded } from '../support/f16.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

// Sums of up to a few thousand f32 numbers in pieces, relative to a sum that is smaller than its terms together.
const TOLERANCE = 1e-5;

describe.each(PROFILES)('scaleChannels on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);

  const images = casesFor(claims.maxBindingSize).filter(({ shape }) => shape.length === 4);

  it.each(images)('$name', async ({ shape, scale = 1, offset = 0 }) => {
    const [batch, channels] = shape;
    const plane = product(shape.slice(2));
    const data = uniform(product(shape), 1, scale).map((value) => value + offset);
    const gate = uniform(batch * channels, 2);
    const operands = [
      { shape, data },
      { shape: [batch, channels, 1, 1], data: gate },
    ];
    const halves = engine().profile.f16 && offset + scale < 65504 ? [false, true] : [false];
    for (const f16 of halves) {
      const scaled = await differentiate(engine(), operands, (x, g) => {
        const scaledBy = () => scaleChannels(x, g);
        const y = f16 ? autocast(engine(), () => forProduct(scaledBy())) : scaledBy();
        expect(y.dtype).toBe(f16 ? 'f16' : 'f32');
        return to(y, 'f32');
      });
      // In f16 y is one rounding away, and its gradient is rounded before anything is computed of it.
      const dy = f16 ? rounded(scaled.dy) : scaled.dy;
      const expected = scaleChannelsReference({ batch, channels, plane }, { x: data, gate, dy });
      expectClose(scaled.y, expected.y, f16 ? HALF_UNIT : TOLERANCE, 'scaled');
      expectClose(scaled.gradients[0], expected.dx, TOLERANCE, 'dx of scaled');
      expectClose(scaled.gradients[1], expected.dgate, TOLERANCE, 'dgate');
    }
  });
});

describe('scaleChannels', () => {
  const engine = useEngineAs({});

  it('says what does not fit', () => {
    const x = engine().full([2, 3, 4, 4], 1);
    expect(() => scaleChannels(x, engine().full([3, 2], 1))).toThrow(/the gate/);
    expect(() => scaleChannels(x, engine().full([2, 3, 4], 1))).toThrow(/one number for each/);
  });
});
