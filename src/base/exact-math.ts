/**
 * Powers and logarithms that are the same to the last bit everywhere. ECMAScript leaves `**`, `Math.log` and their like to
 * the implementation, and they do differ between versions of Node; what goes over a wire as a number, or decides in a
 * simulated run, must not. Only additions, multiplications and divisions here, which IEEE 754 defines exactly.
 * Accurate to about 1e-15.
 */

/** The last term for a fraction of 1 is below 1e-17. */
const EXP_TERMS = 18
/** (1/3)^(2 × 17): below 1e-16. */
const LOG_TERMS = 18

/** 2 to the power of `x`, for |x| up to 1,000; 0 below that. */
export function exp2(x: number): number {
  if (x < -1000) return 0
  const whole = Math.floor(x)
  const t = (x - whole) * Math.LN2
  let sum = 1
  for (let n = EXP_TERMS; n > 0; n--) sum = 1 + (t / n) * sum
  return scaled(sum, whole)
}

/** Logarithm to the base 2 of a number above 0; exact for powers of 2. */
export function log2(x: number): number {
  let whole = 0
  let mantissa = x
  for (; mantissa >= 2; mantissa /= 2) whole++
  for (; mantissa < 1; mantissa *= 2) whole--
  // ln m = 2 artanh((m − 1) / (m + 1)).
  const t = (mantissa - 1) / (mantissa + 1)
  const square = t * t
  let sum = 0
  for (let n = LOG_TERMS; n >= 0; n--) sum = 1 / (2 * n + 1) + square * sum
  return whole + (2 * t * sum) / Math.LN2
}

/** Natural logarithm of a number above 0. */
export function ln(x: number): number {
  return log2(x) * Math.LN2
}

/** `x` times 2 to the power of `whole`, by halving or doubling. */
function scaled(x: number, whole: number): number {
  let result = x
  for (let n = whole; n > 0; n--) result *= 2
  for (let n = whole; n < 0; n++) result /= 2
  return result
}
