/**
 * Elementary functions in WGSL where the built-ins are not good enough: WGSL allows `tanh`, `log` and `pow` errors of
 * thousands of units in the last place (and software adapters use that). Each snippet is self-contained and declares a
 * scalar function and its twin on vec4f (suffix 4). NaN in gives NaN out; tests for NaN are on the bit pattern, because a
 * WGSL compiler may assume that there is none.
 */

/** The types of a snippet's two instances. */
interface Types {
  readonly F: string;
  readonly U: string;
  readonly I: string;
  /** Suffix of the function's name. */
  readonly S: string;
}

const SCALAR: Types = { F: 'f32', U: 'u32', I: 'i32', S: '' };
const VECTOR: Types = { F: 'vec4f', U: 'vec4u', I: 'vec4i', S: '4' };

const both = (snippet: (types: Types) => string): string => snippet(SCALAR) + snippet(VECTOR);

/** WGSL: the most negative number, where a search for a maximum starts. */
export const LOWEST = '-0x1.fffffep+127f';

/** `is_nan(x)`, `is_nan4(x)`: by bit pattern. */
export const isNanWgsl = both(
  ({ F, U, S }) => /* wgsl */ `
fn is_nan${S}(x: ${F}) -> ${F.replace('f32', 'bool').replace('vec4f', 'vec4<bool>')} {
  return (bitcast<${U}>(x) & ${U}(0x7fffffffu)) > ${U}(0x7f800000u);
}
`,
);

/** max(value, 0) of a variable, f32 or vec4f. NaN stays NaN: only the bit patterns of -0 ... -infinity become zero. */
export function rectified(value: string, type: 'f32' | 'vec4f'): string {
  const words = type === 'f32' ? 'u32' : 'vec4u';
  return `select(${value}, ${type}(), bitcast<${words}>(${value}) - ${words}(0x80000000u) <= ${words}(0x7f800000u))`;
}

/** `accurate_exp(x)`, `accurate_exp4(x)`: within 2 ulp wherever the result is a normal number (the built-in is allowed 3 + 2 |x|). */
export const expWgsl = both(
  ({ F, U, I, S }) => /* wgsl */ `
fn accurate_exp${S}(x: ${F}) -> ${F} {
  // exp(x) = 2^k exp(f), |f| <= ln(2) / 2; the first part of ln(2) has so few bits that k times it is exact.
  let bounded = clamp(x, ${F}(-104.0), ${F}(89.0));
  let k = round(bounded * 1.442695041);
  let f = (bounded - k * 0.693145752) - k * 1.42860677e-6;
  var y = f * 1.37805939e-3 + 8.37312452e-3;
  y = y * f + 4.16695364e-2;
  y = y * f + 1.66664720e-1;
  y = y * f + 4.99999851e-1;
  y = y * f * f + f + 1.0;
  // 2^k in two factors, since k reaches beyond the exponents of normal numbers.
  let half = ${I}(k) >> ${U}(1u);
  let rest = ${I}(k) - half;
  y = y * bitcast<${F}>((half + ${I}(127)) << ${U}(23u)) * bitcast<${F}>((rest + ${I}(127)) << ${U}(23u));
  return select(y, x, (bitcast<${U}>(x) & ${U}(0x7fffffffu)) > ${U}(0x7f800000u));
}
`,
);

/** The name of the instance of `expWgsl` for scalars or vectors. Unlike the built-in everywhere, it keeps NaN. */
export const accurateExp = (vector: 1 | 4): string => `accurate_exp${vector === 4 ? '4' : ''}`;

/**
 * `accurate_log(x)`, `accurate_log4(x)`: the natural logarithm within 2 ulp, near 1 too, for subnormal x as well.
 * Method and coefficients of FreeBSD's e_logf.c: log(2^k (1 + f)) with s = f / (2 + f).
 */
export const logWgsl = both(
  ({ F, U, I, S }) => /* wgsl */ `
fn accurate_log${S}(x: ${F}) -> ${F} {
  let bits = bitcast<${U}>(x);
  // A subnormal number is its bits times 2^-149; taken as an integer it survives devices that flush subnormals.
  let subnormal = bits < ${U}(0x00800000u);
  let normal = select(bits, bitcast<${U}>(${F}(bits)), subnormal);
  let shifted = normal + ${U}(0x3f800000u - 0x3f3504f3u);
  let k = ${F}(${I}(shifted >> ${U}(23u)) - ${I}(127) - select(${I}(0), ${I}(149), subnormal));
  let f = bitcast<${F}>((shifted & ${U}(0x007fffffu)) + ${U}(0x3f3504f3u)) - 1.0;
  let s = f / (2.0 + f);
  let z = s * s;
  let w = z * z;
  let r = z * (0.66666662693 + w * 0.28498786688) + w * (0.40000972152 + w * 0.24279078841);
  let half_square = 0.5 * f * f;
  let y = s * (half_square + r) + k * 9.0580006145e-06 - half_square + f + k * 0.69313812256;
  // Infinity and NaN pass through, zero gives -infinity, what is negative gives NaN.
  let special = select(x, bitcast<${F}>(bits | ${U}(0x7fc00000u)), bits > ${U}(0x80000000u));
  let negative_infinity = bitcast<${F}>(bits | ${U}(0xff800000u));
  let zero = (bits & ${U}(0x7fffffffu)) == ${U}(0u);
  return select(select(y, special, bits >= ${U}(0x7f800000u)), negative_infinity, zero);
}
`,
);

/**
 * `accurate_tanh(x)`, `accurate_tanh4(x)`: within 4 ulp for all x; an odd polynomial (Cephes' tanhf) up to 0.625, above
 * it 1 - 2 / (exp(2 |x|) + 1).
 */
export const tanhWgsl = both(
  ({ F, U, S }) => /* wgsl */ `
fn accurate_tanh${S}(x: ${F}) -> ${F} {
  // From 9.02 on, tanh rounds to 1; the bound keeps exp finite.
  let t = min(abs(x), ${F}(9.1));
  let z = t * t;
  var near = z * -5.70498872745e-3 + 2.06390887954e-2;
  near = near * z - 5.37397155531e-2;
  near = near * z + 1.33314422036e-1;
  near = near * z - 3.33332819422e-1;
  near = near * z * x + x;
  var far = 1.0 - 2.0 / (exp(2.0 * t) + 1.0);
  far = select(far, -far, x < ${F}(0.0));
  let finite = select(near, far, t > ${F}(0.625));
  return select(finite, x, (bitcast<${U}>(x) & ${U}(0x7fffffffu)) > ${U}(0x7f800000u));
}
`,
);

/**
 * `accurate_pow(x, y)`, `accurate_pow4(x, y)`: x^y within 4 ulp, with C's special cases (pow(x, 0) = pow(1, y) = 1,
 * a negative base takes whole exponents only). The method is that of FreeBSD's e_powf.c: log2(x) to about 30 bits, as a
 * head of 12 bits, whose products with the halves of y are exact, and a tail.
 */
export const powWgsl = /* wgsl */ `
fn pow_head(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u); }
fn accurate_pow(x: f32, y: f32) -> f32 {
  let x_bits = bitcast<u32>(x);
  let y_bits = bitcast<u32>(y);
  let magnitude_bits = x_bits & 0x7fffffffu;
  let y_magnitude_bits = y_bits & 0x7fffffffu;
  if (y_magnitude_bits == 0u || x_bits == 0x3f800000u) { return 1.0; }
  if (magnitude_bits > 0x7f800000u) { return x; }
  if (y_magnitude_bits > 0x7f800000u) { return y; }
  // Whether y is whole, and odd: beyond 2^24 every number is even.
  let y_magnitude = bitcast<f32>(y_magnitude_bits);
  let large = y_magnitude_bits >= 0x4b800000u;
  let y_whole = u32(min(y_magnitude, 16777216.0));
  let whole = large || f32(y_whole) == y_magnitude;
  let odd = whole && !large && (y_whole & 1u) == 1u;
  let sign = select(0u, x_bits & 0x80000000u, odd);
  let growing = (magnitude_bits > 0x3f800000u) == (y_bits < 0x80000000u);
  let infinity = (magnitude_bits | 0x7f800000u) & 0xff800000u;
  if (magnitude_bits == 0u || magnitude_bits == 0x7f800000u || y_magnitude_bits == 0x7f800000u) {
    if (magnitude_bits == 0x3f800000u) { return 1.0; }
    return bitcast<f32>(select(0u, infinity, growing) | sign);
  }
  if ((x_bits >> 31u) == 1u && !whole) { return bitcast<f32>(x_bits | 0x7fc00000u); }

  // |x| = 2^e m with m in [sqrt(1/2), sqrt(2)); subnormal numbers are taken as integers times 2^-149.
  let subnormal = magnitude_bits < 0x00800000u;
  let normal = select(magnitude_bits, bitcast<u32>(f32(magnitude_bits)), subnormal);
  let shifted = normal + (0x3f800000u - 0x3f3504f3u);
  let e = f32(i32(shifted >> 23u) - 127 - select(0, 149, subnormal));
  let m = bitcast<f32>((shifted & 0x007fffffu) + 0x3f3504f3u);
  // ln(m) = 2 (s + s^3 / 3 + ...), s = f / (2 + f), with s and the divisor in head and tail.
  let f = m - 1.0;
  let divisor = pow_head(2.0 + f);
  let divisor_tail = f - (divisor - 2.0);
  let s = pow_head(f / (2.0 + f));
  let s_tail = ((f - s * divisor) - s * divisor_tail) / (2.0 + f);
  let sum = s + s_tail;
  let z = sum * sum;
  let series = sum * z * (0.66666666667 + z * (0.4 + z * (0.28571428571 + z * (0.22222222222 + z * 0.18181818182))));
  // log2(m) = ln(m) / ln(2), with 1 / ln(2) in head and tail too.
  let ln_tail = 2.0 * s_tail + series;
  let product = 2.0 * s * 1.4423828125;
  let head = pow_head(product);
  let tail = (product - head) + 2.0 * s * 3.12228389e-4 + ln_tail * 1.4426950409;

  let estimate = y * (e + (head + tail));
  if (estimate >= 129.0) { return bitcast<f32>(infinity | sign); }
  if (estimate <= -151.0) { return bitcast<f32>(sign); }
  let k = round(estimate);
  let y_head = pow_head(y);
  let y_tail = y - y_head;
  var r = (y_head * e - k) + y_head * head;
  r = r + (y_tail * e + y_tail * head);
  r = (r + y * tail) * 0.69314718056;
  var p = r * 1.37805939e-3 + 8.37312452e-3;
  p = p * r + 4.16695364e-2;
  p = p * r + 1.66664720e-1;
  p = p * r + 4.99999851e-1;
  p = p * r * r + r + 1.0;
  let half = i32(k) >> 1u;
  p = p * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(i32(k) - half + 127) << 23u);
  return bitcast<f32>(bitcast<u32>(p) | sign);
}
fn accurate_pow4(x: vec4f, y: vec4f) -> vec4f {
  return vec4f(accurate_pow(x.x, y.x), accurate_pow(x.y, y.y), accurate_pow(x.z, y.z), accurate_pow(x.w, y.w));
}
`;

/**
 * `order(bits)` maps the bits of an f32 to an unsigned integer that grows with it: -infinity ... infinity, NaN; both
 * zeros are one. 0 is below all of them.
 */
export const orderWgsl = /* wgsl */ `
fn order4(raw: vec4u) -> vec4u {
  let bits = select(raw, vec4u(0u), raw == vec4u(0x80000000u));
  let ordered = select(bits ^ vec4u(0x80000000u), ~bits, (bits >> vec4u(31u)) == vec4u(1u));
  return select(ordered, vec4u(0xffffffffu), (bits & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
}
fn order(bits: u32) -> u32 { return order4(vec4u(bits)).x; }
fn unorder4(ordered: vec4u) -> vec4u {
  return select(~ordered, ordered ^ vec4u(0x80000000u), (ordered >> vec4u(31u)) == vec4u(1u));
}
fn unorder(ordered: u32) -> u32 { return unorder4(vec4u(ordered)).x; }
`;

/** `log1p4(e)`: log(1 + e) for e in 0 ... 1 within 3 ulp, by the series of 2 artanh(e / (2 + e)). */
export const log1pWgsl = /* wgsl */ `
fn log1p4(e: vec4f) -> vec4f {
  let s = e / (2.0 + e);
  let z = s * s;
  var series = z * 0.0666666667 + 0.0769230769;
  series = series * z + 0.0909090909;
  series = series * z + 0.111111111;
  series = series * z + 0.142857143;
  series = series * z + 0.2;
  series = series * z + 0.333333333;
  return 2.0 * (s + s * z * series);
}
`;

/** `expm1_4(x)`: exp(x) - 1 for x <= 0.5 within 3 ulp, with `expWgsl`. NaN stays NaN. */
export const expm1Wgsl = /* wgsl */ `
fn expm1_4(x: vec4f) -> vec4f {
  // Taylor's series where the difference would have no digits left.
  var near = x * 2.75573192e-6 + 2.48015873e-5;
  near = near * x + 1.98412698e-4;
  near = near * x + 1.38888889e-3;
  near = near * x + 8.33333333e-3;
  near = near * x + 4.16666667e-2;
  near = near * x + 1.66666667e-1;
  near = near * x + 0.5;
  return select(accurate_exp4(x) - 1.0, near * x * x + x, abs(x) <= vec4f(0.5));
}
`;

/**
 * `sin4(x)`, `cos4(x)`: within 2 ulp, or 2e-8 near a zero, for all x; WGSL's own are off by 5e-4 and more outside -pi ... pi.
 * x is a multiple of pi / 2 and a rest within pi / 4: by Cody and Waite's three-part pi / 2 up to 8192, above by Payne and
 * Hanek's method (1983), which multiplies by as many bits of 2 / pi as matter. The polynomials are those of Cephes' sinf.
 */
export const sinWgsl = /* wgsl */ `
const two_over_pi = array(0u, 0x28be60dbu, 0x9391054au, 0x7f09d5f4u, 0x7d4d3770u, 0x36d8a566u, 0x4f10e410u);
/** The product of two words: its upper word, and its lower one. */
fn wide_product(a: u32, b: u32) -> vec2u {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let left = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let right = (a & 0xffffu) * (b >> 16u) + (left & 0xffffu);
  return vec2u((a >> 16u) * (b >> 16u) + (left >> 16u) + (right >> 16u), a * b);
}
/** x as quadrant (its lowest two bits count) and rest, for |x| > 1. */
fn large_angle(x: f32) -> vec2f {
  let bits = bitcast<u32>(x);
  let mantissa = (bits << 8u) | 0x80000000u;
  let exponent = ((bits >> 23u) & 0xffu) - 126u;
  let word = exponent >> 5u;
  let shift = exponent & 31u;
  var digits = vec4u(two_over_pi[word], two_over_pi[word + 1u], two_over_pi[word + 2u], two_over_pi[min(word + 3u, 6u)]);
  if (shift > 0u) {
    digits = vec4u(
      (digits.x << shift) | (digits.y >> (32u - shift)),
      (digits.y << shift) | (digits.z >> (32u - shift)),
      (digits.z << shift) | (digits.w >> (32u - shift)),
      0u,
    );
  }
  // The product in 64 bits, of which two stand before the point.
  let middle = wide_product(mantissa, digits.y);
  let carry = wide_product(mantissa, digits.z).x;
  let low = middle.y + carry;
  var high = mantissa * digits.x + middle.x + select(0u, 1u, low < carry);
  var quadrant = high >> 30u;
  high = high & 0x3fffffffu;
  let past_half = (high & 0x20000000u) != 0u;
  // The fraction, or what is missing to the next whole.
  var rest_low = low;
  if (past_half) {
    quadrant += 1u;
    rest_low = 0u - low;
    high = 0x40000000u - high - select(0u, 1u, low != 0u);
  }
  let magnitude = (f32(high) * 4294967296.0 + f32(rest_low)) * 3.4061215800934544e-19;
  let negative = past_half != (x < 0.0);
  let turned = select(quadrant, 0u - quadrant, x < 0.0) & 3u;
  return vec2f(f32(turned), select(magnitude, -magnitude, negative));
}
fn sine4(x: vec4f, quarter: u32) -> vec4f {
  let k = round(clamp(x, vec4f(-8192.0), vec4f(8192.0)) * 0.636619772);
  var rest = ((x - k * 1.5703125) - k * 4.837512969970703e-4) - k * 7.549789948768648e-8;
  var quadrant = vec4u(vec4i(k)) + quarter;
  for (var c = 0u; c < 4u; c++) {
    if (abs(x[c]) > 8192.0 && (bitcast<u32>(x[c]) & 0x7fffffffu) < 0x7f800000u) {
      let reduced = large_angle(x[c]);
      quadrant[c] = u32(reduced.x) + quarter;
      rest[c] = reduced.y;
    }
  }
  let z = rest * rest;
  let s = ((z * -1.9515295891e-4 + 8.3321608736e-3) * z - 1.6666654611e-1) * z * rest + rest;
  let c = ((z * 2.443315711809948e-5 - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0;
  let y = select(s, c, (quadrant & vec4u(1u)) == vec4u(1u));
  let signed = select(y, -y, (quadrant & vec4u(2u)) == vec4u(2u));
  // Infinity and NaN give NaN.
  let bits = bitcast<vec4u>(x);
  let finite = (bits & vec4u(0x7fffffffu)) < vec4u(0x7f800000u);
  return select(bitcast<vec4f>(bits | vec4u(0x7fc00000u)), signed, finite);
}
fn sin4(x: vec4f) -> vec4f { return sine4(x, 0u); }
fn cos4(x: vec4f) -> vec4f { return sine4(x, 1u); }
`;
