// The rate of a counter, from successive readings.

export const WINDOW = 300; // seconds that are remembered
const LEAST = 60; // seconds that a chart shows, from the beginning on
const SPAN = 10; // seconds over which a rate is averaged

export class CounterRate {
  points = []; // {at, rate}: seconds, and per second; null while the rate is unknown
  #samples = []; // {at, grown} of the last SPAN, at least two if there are any
  #value = null;
  #grown = 0;

  // A counter that is smaller than before was reset to zero, as in Prometheus.
  read(at, value) {
    if (value === null) {
      this.#samples = [];
      this.#add(at, null);
      return;
    }
    if (this.#value !== null) this.#grown += value < this.#value ? Number(value) : difference(value, this.#value);
    this.#value = value;
    this.#samples.push({ at, grown: this.#grown });
    while (this.#samples.length > 2 && this.#samples[0].at < at - SPAN) this.#samples.shift();
    const first = this.#samples[0];
    this.#add(at, at > first.at ? (this.#grown - first.grown) / (at - first.at) : null);
  }

  get rate() {
    return this.points.at(-1)?.rate ?? null;
  }

  #add(at, rate) {
    remember(this.points, at, rate);
  }
}

// Exact also for BigInts, which readings beyond 2^53 are.
function difference(value, before) {
  return Number(BigInt(value) - BigInt(before));
}

export function remember(points, at, rate) {
  points.push({ at, rate });
  while (points[0].at < at - WINDOW) points.shift();
}

// The seconds that a chart of these points shows.
export function width(points, now) {
  return points.length ? Math.min(WINDOW, Math.max(LEAST, now - points[0].at)) : LEAST;
}

export function peak(points) {
  return points.reduce((most, { rate }) => Math.max(most, rate ?? 0), 0);
}
