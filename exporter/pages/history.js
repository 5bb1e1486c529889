// What became of a target's last readings, in a dialog.

import { Problem, readHistory } from "./api.js";
import { clock, count, duration } from "./words.js";

const part = (id) => document.getElementById(id);
const heads = part("history-table");

export async function showHistory({ name }) {
  part("history-title").textContent = `History of ${name}`;
  part("history-tables").hidden = true;
  refuse("");
  part("history").showModal();
  try {
    const { last, failed } = await readHistory(name);
    part("history-none").hidden = failed.length > 0;
    part("history-failed").hidden = failed.length === 0;
    fill(part("history-failed"), failed);
    fill(part("history-last"), last);
    part("history-tables").hidden = false;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    refuse(error.message);
  }
}

function fill(table, probes) {
  table.replaceChildren(heads.content.cloneNode(true));
  const rows = probes.map((probe) => {
    const row = document.createElement("tr");
    row.classList.toggle("down", !probe.up);
    const repeated = probe.retransmissions ? `, ${count(probe.retransmissions)} again` : "";
    row.append(
      cell(moment(probe.at)),
      cell(probe.error ?? "answered"),
      cell(duration(probe.seconds), "number"),
      cell(`${count(probe.datagrams_sent)} sent${repeated}`, "number"),
    );
    return row;
  });
  table.tBodies[0].append(...rows.reverse());
}

function cell(text, kind = "") {
  const made = document.createElement("td");
  made.textContent = text;
  made.className = kind;
  return made;
}

// With the day, when it was another one.
function moment(seconds) {
  const at = new Date(seconds * 1000);
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock(at) : `${at.toLocaleDateString("en-GB")} ${clock(at)}`;
}

function refuse(text) {
  part("history-refusal").textContent = text;
  part("history-refusal").hidden = !text;
}
