/** Normal draws in WGSL from words of the generator (philox.ts), by Box and Muller as `PhiloxStream.normal` makes them on the host. */
import { logWgsl } from './math.ts';

/**
 * `cos_turn(word)`: the cosine of the angle word / 2^32 turns, from the word itself: the quadrant exactly, the rest in
 * [-pi/4, pi/4] by the Taylor polynomials, which are within 4e-7 there (the built-in may be off by 5e-4).
 */
const cosTurnWgsl = /* wgsl */ `
fn cos_turn(word: u32) -> f32 {
  let quadrant = (word + 0x20000000u) >> 30u;
  let t = f32(bitcast<i32>(word - (quadrant << 30u))) * 1.46291807926715968e-9;
  let z = t * t;
  let cosine = 1.0 + z * (-0.5 + z * (4.16666667e-2 + z * (-1.38888889e-3 + z * 2.48015873e-5)));
  let sine = t + t * z * (-1.66666667e-1 + z * (8.33333333e-3 + z * (-1.98412698e-4 + z * 2.75573192e-6)));
  let value = select(cosine, sine, (quadrant & 1u) == 1u);
  return select(value, -value, quadrant == 1u || quadrant == 2u);
}
`;

/** WGSL: `normal(radius_word, angle_word)`, a standard normal number from two words. */
export const normalWgsl = /* wgsl */ `
${logWgsl}
${cosTurnWgsl}
fn normal(radius_word: u32, angle_word: u32) -> f32 {
  let u = (f32(radius_word) + 0.5) * 2.3283064365386963e-10;
  return sqrt(max(-2.0 * accurate_log(u), 0.0)) * cos_turn(angle_word);
}
`;
