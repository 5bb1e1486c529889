// The status page: asks the exporter, one question at a time, while somebody can see the answer.

import { readTargets } from "./api.js";
import { showHistory } from "./history.js";
import { List } from "./list.js";
import { Overview } from "./overview.js";
import { Row, write } from "./row.js";
import { Switching } from "./switching.js";
import { clock } from "./words.js";

const INTERVAL = 2000; // milliseconds between the beginnings of two readings
const LARGE = { targets: 100, interval: 5000 }; // a large fleet is asked less often
const BREATH = 250; // at least, after an answer that took long

const part = (id) => document.getElementById(id);
const rows = new Map();
const list = new List();
const overview = new Overview();
const switching = new Switching();
const seen = new IntersectionObserver(appear, { rootMargin: "25%" });
let answered = null;
let timer = 0;
let reading = false;
let paused = false;

async function read() {
  if (reading || paused || document.hidden) return;
  reading = true;
  const began = performance.now();
  try {
    const targets = await readTargets();
    show(targets, began / 1000);
    answered = new Date();
    trouble(null);
  } catch (problem) {
    trouble(problem);
  }
  reading = false;
  later(began);
}

function later(began) {
  clearTimeout(timer);
  const interval = rows.size > LARGE.targets ? LARGE.interval : INTERVAL;
  timer = setTimeout(read, Math.max(BREATH, interval - (performance.now() - began)));
  beat(interval);
}

function show(targets, at) {
  const before = new Set(rows.keys());
  for (const target of targets) {
    before.delete(target.target);
    if (!rows.has(target.target)) rows.set(target.target, newRow(target.target));
    rows.get(target.target).read(target, at);
  }
  for (const name of before) {
    seen.unobserve(rows.get(name).element);
    rows.delete(name);
  }
  const all = [...rows.values()];
  part("empty").hidden = all.length > 0;
  part("overview").hidden = part("targets").hidden = all.length === 0;
  part("main").classList.toggle("roomy", all.length <= 8);
  part("main").classList.toggle("airy", all.length <= 3);
  list.show(all);
  if (all.length) overview.read(all, at);
  announce(all.filter((row) => row.turned));
}

// For those who hear the page.
function announce(turned) {
  if (turned.length === 0) return;
  const words = turned.map(({ name, target }) => (target.up ? `${name} is up again.` : `${name} is down: ${target.error}.`));
  write(part("news"), words.length > 3 ? `${words.length} targets went up or down.` : words.join(" "));
}

function newRow(name) {
  const row = new Row(name, (asked) => switching.ask(asked), showHistory);
  row.element.row = row;
  seen.observe(row.element);
  return row;
}

// Charts are drawn where they can be seen, and when they come into sight.
function appear(entries) {
  for (const { target, isIntersecting } of entries) {
    target.row.visible = isIntersecting;
    if (isIntersecting) target.row.draw(target.row.connections.points.at(-1).at);
  }
}

function trouble(problem) {
  const told = problem && `${problem.message} ${answered ? `The numbers are those of ${clock(answered)}. ` : ""}Trying again.`;
  part("main").classList.toggle("stale", Boolean(problem));
  part("trouble").hidden = !problem;
  write(part("trouble"), told ?? "");
}

function beat(interval) {
  part("heartbeat").classList.toggle("still", paused || !part("trouble").hidden);
  const when = answered ? clock(answered) : "no answer yet";
  write(part("clock"), paused ? `Paused at ${when}` : `${when} · every ${interval / 1000} s`);
}

part("pause").addEventListener("click", () => {
  paused = !paused;
  part("pause").setAttribute("aria-pressed", String(paused));
  write(part("pause"), paused ? "Go on" : "Pause");
  if (paused) beat(0);
  else read();
});
document.addEventListener("visibilitychange", read);
read();
