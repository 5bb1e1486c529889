// The status page: reads the targets, one request at a time, while the page is visible.

import { readTargets } from "./api.js";
import { byId, setText } from "./dom.js";
import { showFooter } from "./footer.js";
import { showHistory } from "./history.js";
import { List } from "./list.js";
import { Overview } from "./overview.js";
import { Row } from "./row.js";
import { Switching } from "./switching.js";
import { clock } from "./format.js";

const INTERVAL = 2000; // milliseconds between the beginnings of two readings
const LARGE = { targets: 100, interval: 5000 }; // a large fleet is asked less often
const MIN_PAUSE = 250; // after a response that took long

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
    showError(null);
    showFooter(began);
  } catch (problem) {
    showError(problem);
  }
  reading = false;
  later(began);
}

function later(began) {
  clearTimeout(timer);
  const interval = rows.size > LARGE.targets ? LARGE.interval : INTERVAL;
  timer = setTimeout(read, Math.max(MIN_PAUSE, interval - (performance.now() - began)));
  showClock(interval);
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
  byId("empty").hidden = all.length > 0;
  byId("overview").hidden = byId("targets").hidden = all.length === 0;
  byId("main").classList.toggle("roomy", all.length <= 8);
  byId("main").classList.toggle("airy", all.length <= 3);
  list.show(all);
  if (all.length) overview.read(all, at);
  announce(all.filter((row) => row.turned));
}

// For screen readers.
function announce(turned) {
  if (turned.length === 0) return;
  const words = turned.map(({ name, target }) => (target.up ? `${name} is up again.` : `${name} is down: ${target.error}.`));
  setText(byId("news"), words.length > 3 ? `${words.length} targets went up or down.` : words.join(" "));
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

function showError(problem) {
  const text = problem && `${problem.message} ${answered ? `Showing the numbers of ${clock(answered)}. ` : ""}Retrying.`;
  byId("main").classList.toggle("stale", Boolean(problem));
  byId("trouble").hidden = !problem;
  setText(byId("trouble"), text ?? "");
}

function showClock(interval) {
  byId("heartbeat").classList.toggle("still", paused || !byId("trouble").hidden);
  const when = answered ? clock(answered) : "no response yet";
  setText(byId("clock"), paused ? `Paused at ${when}` : `${when} · every ${interval / 1000} s`);
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  setText(byId("pause"), paused ? "Resume" : "Pause");
  if (paused) showClock(0);
  else read();
});
document.addEventListener("visibilitychange", read);
read();
