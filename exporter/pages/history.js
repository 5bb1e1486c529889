// A target's last readings, in a dialog.

import { Problem, readHistory } from "./api.js";
import { byId } from "./dom.js";
import { count, duration, moment } from "./format.js";

const heads = byId("history-table");

export async function showHistory({ name }) {
  byId("history-title").textContent = `History of ${name}`;
  byId("history-tables").hidden = true;
  refuse("");
  byId("history").showModal();
  try {
    const { last, failed } = await readHistory(name);
    byId("history-none").hidden = failed.length > 0;
    byId("history-failed").hidden = failed.length === 0;
    fill(byId("history-failed"), failed);
    fill(byId("history-last"), last);
    byId("history-tables").hidden = false;
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
    const repeated = probe.retransmissions ? `, ${count(probe.retransmissions)} retransmitted` : "";
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

function refuse(text) {
  byId("history-refusal").textContent = text;
  byId("history-refusal").hidden = !text;
}
