// All targets together.

import { draw } from "./chart.js";
import { peak, remember } from "./growth.js";
import { write } from "./row.js";
import { bytesPerSecond, count, duration, perSecond } from "./words.js";

const part = (id) => document.getElementById(id);

export class Overview {
  #connections = [];
  #bytes = [];

  read(rows, at) {
    const up = rows.filter((row) => row.target.up);
    const down = rows.length - up.length;
    write(part("up"), count(up.length));
    write(part("of"), down ? `of ${count(rows.length)} up` : "up");
    write(part("down"), down ? `${count(down)} down` : "none down");
    part("down").classList.toggle("bad", down > 0);
    this.#slowest(up);
    remember(this.#connections, at, sum(up.map((row) => row.connections.rate)));
    remember(this.#bytes, at, sum(up.map((row) => row.bytes.rate)));
    const open = sum(up.map((row) => row.target.active_connections));
    chart("all-connections", this.#connections, at, perSecond, "Connections per second of all targets", `${count(open)} open · `);
    chart("all-bytes", this.#bytes, at, bytesPerSecond, "Bytes per second of all targets", "");
    document.title = down ? `${down} down · smtpstatus` : "smtpstatus";
  }

  #slowest(up) {
    const slow = up.reduce(
      (most, row) => ((row.target.round_trip_seconds ?? -1) > (most?.target.round_trip_seconds ?? -1) ? row : most),
      null,
    );
    write(part("slowest"), duration(slow?.target.round_trip_seconds ?? null));
    write(part("slowest-target"), slow?.name ?? "");
  }
}

function chart(id, points, at, words, label, aside) {
  const now = words(points.at(-1).rate);
  const most = words(peak(points));
  write(part(id), now);
  write(part(`${id}-aside`), `${aside}peak ${most}`);
  draw(part(`${id}-chart`), points, at, `${label} over the last minutes: now ${now}, at most ${most}`);
}

// Of what is known; null if nothing is.
function sum(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((total, value) => total + value, 0) : null;
}
