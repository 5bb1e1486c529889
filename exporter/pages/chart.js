// A rate over the last minutes as a small area chart.

import { peak, width } from "./rate.js";

const WIDTH = 300; // as in the viewBox
const HEIGHT = 40;
const HEADROOM = 3; // the stroke of the peak stays inside

export function draw(svg, points, now, label) {
  const [area, line] = svg.children;
  const top = peak(points) || 1;
  const scale = WIDTH / width(points, now);
  const lines = unbroken(points).map((part) =>
    part.map(({ at, rate }) => [
      round(WIDTH - (now - at) * scale),
      round(HEIGHT - 1 - (rate / top) * (HEIGHT - 1 - HEADROOM)),
    ]),
  );
  line.setAttribute("d", lines.map((part) => `M${part.join("L")}`).join(""));
  area.setAttribute("d", lines.map(closed).join(""));
  svg.setAttribute("aria-label", label);
}

// The parts between gaps; a point alone has no line.
function unbroken(points) {
  const parts = [[]];
  for (const point of points) {
    if (point.rate === null) parts.push([]);
    else parts.at(-1).push(point);
  }
  return parts.filter((part) => part.length > 1);
}

function closed(part) {
  return `M${part[0][0]},${HEIGHT}L${part.join("L")}L${part.at(-1)[0]},${HEIGHT}Z`;
}

function round(value) {
  return Math.round(value * 10) / 10;
}
