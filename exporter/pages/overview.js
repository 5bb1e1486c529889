// All targets together.

import { draw } from "./chart.js";
import { peak, remember } from "./rate.js";
import { byId, setName, setText } from "./dom.js";
import { bytesPerSecond, count, duration, perSecond } from "./format.js";


export class Overview {
  #connections = [];
  #bytes = [];

  read(rows, at) {
    const up = rows.filter((row) => row.target.up);
    const down = rows.length - up.length;
    setText(byId("up"), count(up.length));
    setText(byId("of"), down ? `of ${count(rows.length)} up` : "up");
    setText(byId("down"), down ? `${count(down)} down` : "none down");
    byId("down").classList.toggle("bad", down > 0);
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
    setText(byId("slowest"), duration(slow?.target.round_trip_seconds ?? null));
    setName(byId("slowest-target"), slow?.name ?? "");
  }
}

function chart(id, points, at, words, label, aside) {
  const now = words(points.at(-1).rate);
  const most = words(peak(points));
  setText(byId(id), now);
  setText(byId(`${id}-aside`), `${aside}peak ${most}`);
  draw(byId(`${id}-chart`), points, at, `${label} over the last minutes: now ${now}, at most ${most}`);
}

function add(total, value) {
  return typeof total === typeof value ? total + value : BigInt(total) + BigInt(value);
}

// The sum of the known values; null if there are none.
function sum(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce(add, 0) : null;
}
