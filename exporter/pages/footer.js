// The footer: the exporter's version and the state of its configuration, from its own metrics.

import { readOwnMetrics } from "./api.js";
import { byId, setText } from "./dom.js";
import { moment } from "./format.js";

const INTERVAL_MS = 30_000;

let due = 0;

// `now` is in milliseconds of performance.now().
export async function showFooter(now) {
  if (now < due) return;
  due = now + INTERVAL_MS;
  try {
    const metrics = await readOwnMetrics();
    setText(byId("version"), `smtpstatus-exporter ${label(metrics, "smtpstatus_exporter_build_info", "version")}`);
    const loaded = moment(value(metrics, "smtpstatus_exporter_config_last_reload_success_timestamp_seconds"));
    const good = value(metrics, "smtpstatus_exporter_config_last_reload_successful") === 1;
    setText(byId("configuration"), good ? `Configuration loaded at ${loaded}` : `The last reload failed; using the configuration of ${loaded}`);
    byId("configuration").classList.toggle("bad", !good);
  } catch {
    due = 0; // the page shows already that the exporter cannot be reached
  }
}

function value(metrics, name) {
  return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(metrics)[1]);
}

function label(metrics, name, label) {
  return new RegExp(`^${name}\\{(?:.*,)?${label}="([^"]*)"`, "m").exec(metrics)[1];
}
