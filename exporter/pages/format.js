// Numbers and times as text.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const SCALES = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

export const UNKNOWN = "–";

export function count(value) {
  return value === null ? UNKNOWN : whole.format(value);
}

export function perSecond(rate) {
  if (rate === null) return UNKNOWN;
  return `${rate < 1000 ? short.format(hundredths(rate)) : whole.format(rate)}/s`;
}

export function bytes(value) {
  return value === null ? UNKNOWN : scaled(value);
}

export function bytesPerSecond(rate) {
  return rate === null ? UNKNOWN : `${scaled(rate)}/s`;
}

export function duration(seconds) {
  if (seconds === null) return UNKNOWN;
  if (seconds < 1e-3) return `${short.format(Math.round(seconds * 1e6))} µs`;
  if (seconds < 1) return `${short.format(seconds * 1e3)} ms`;
  return `${short.format(seconds)} s`;
}

export function clock(date) {
  return date.toLocaleTimeString("en-GB");
}

// With the day, where it is not today.
export function moment(seconds) {
  const at = new Date(seconds * 1000);
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock(at) : `${at.toLocaleDateString("en-GB")} ${clock(at)}`;
}

function scaled(exact) {
  const value = Number(exact);
  for (const [size, prefix] of SCALES) {
    if (value >= size * 0.9995) return `${short.format(value / size)} ${prefix}B`;
  }
  return `${short.format(hundredths(value))} B`;
}

function hundredths(value) {
  return Math.round(value * 100) / 100;
}
