// One target: its last reading, and its row on the page. A row is created once, then only what differs is changed.

import { draw } from "./chart.js";
import { byId, setName, setText } from "./dom.js";
import { CounterRate } from "./rate.js";
import { bytes, bytesPerSecond, count, duration, perSecond, UNKNOWN } from "./format.js";

const template = byId("row");

export class Row {
  connections = new CounterRate();
  bytes = new CounterRate();
  visible = false;
  turned = false; // up or down with the last reading
  #parts = {};

  constructor(name, onSwitch, onHistory) {
    this.name = name;
    this.element = template.content.firstElementChild.cloneNode(true);
    for (const part of ["where", "state", "open", "trip", "switch", "word", "error"]) {
      this.#parts[part] = this.element.querySelector(`.${part}`);
    }
    this.#parts.connections = metric(this.element.querySelector(".connections"));
    this.#parts.bytes = metric(this.element.querySelector(".bytes"));
    setName(this.element.querySelector(".name"), name);
    const probe = this.element.querySelector(".probe");
    probe.href = `probe?target=${encodeURIComponent(name)}&debug=true`;
    probe.setAttribute("aria-label", `Probe ${name}`);
    const history = this.element.querySelector(".history");
    history.setAttribute("aria-label", `History of ${name}`);
    history.addEventListener("click", () => onHistory(this));
    this.#parts.switch.setAttribute("aria-label", `Transforms of ${name}`);
    this.#parts.switch.addEventListener("click", () => onSwitch(this));
  }

  read(target, at) {
    this.turned = this.target !== undefined && this.target.up !== target.up;
    this.target = target;
    this.connections.read(at, target.connections_total);
    this.bytes.read(at, bytesOf(target));
    this.#update();
    if (this.visible) this.draw(at);
  }

  // Shows the state that was read back after a change, before the next reading.
  setTransforms(enabled) {
    this.target = { ...this.target, transforms_enabled: enabled };
    this.#update();
  }

  draw(at) {
    const { connections, bytes: transferred } = this.#parts;
    const last = "over the last minutes";
    draw(connections.chart, this.connections.points, at, `Connections per second of ${this.name} ${last}`);
    draw(transferred.chart, this.bytes.points, at, `Bytes per second of ${this.name} ${last}`);
  }

  get severity() {
    if (!this.target.up) return 0;
    return this.target.transforms_enabled === false ? 1 : 2;
  }

  get text() {
    return [this.name, where(this.target), this.target.error].join("\n").toLowerCase();
  }

  #update() {
    const { target } = this;
    const parts = this.#parts;
    this.element.classList.toggle("down", !target.up);
    setText(parts.state, target.up ? "up" : "down");
    setText(parts.where, where(target));
    setText(parts.connections.rate, perSecond(this.connections.rate));
    setText(parts.connections.total, total(count, target.connections_total));
    setText(parts.bytes.rate, bytesPerSecond(this.bytes.rate));
    setText(parts.bytes.total, total(bytes, bytesOf(target)));
    parts.bytes.total.title = total(count, bytesOf(target), " bytes");
    setText(parts.open, count(target.active_connections));
    setText(parts.trip, duration(target.up ? target.round_trip_seconds : null));
    setText(parts.error, target.error ?? "");
    parts.error.hidden = !target.error;
    this.#updateTransforms(target.transforms_enabled);
  }

  #updateTransforms(enabled) {
    const { switch: button, word } = this.#parts;
    setText(word, enabled === null ? UNKNOWN : enabled ? "on" : "off");
    button.setAttribute("aria-checked", String(enabled === true));
    button.classList.toggle("unknown", enabled === null);
    button.disabled = enabled === null || this.target.can_switch === false;
  }
}

// Servers of some dialects count only the bytes that they send.
function bytesOf(target) {
  return target.transferred_bytes_total ?? target.sent_bytes_total ?? null;
}

function metric(element) {
  return {
    rate: element.querySelector(".rate"),
    total: element.querySelector(".total"),
    chart: element.querySelector(".chart"),
  };
}

function total(words, value, unit = "") {
  return value === null ? "" : `${words(value)}${unit} total`;
}

// Beside the name: the address, if it is another word, and the labels.
function where({ target, address, labels }) {
  const words = Object.entries(labels).map(([label, value]) => `${label}=${value}`);
  return [address === target ? null : address, ...words].filter(Boolean).join("  ·  ");
}
