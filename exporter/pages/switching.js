// The switch: asks for confirmation, and once for the API token; shows the state that the server reports.

import { Problem, writeTransforms } from "./api.js";
import { byId } from "./dom.js";

const KEPT = "smtpstatus-api-token";
const SHOWN = 8000; // milliseconds of a toast

export class Switching {
  #dialog = byId("dialog");
  #row = null;
  #wanted = false;
  #asking = false;
  #fade = 0;

  constructor() {
    byId("dialog-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#switch();
    });
    byId("cancel").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("cancel", (event) => this.#asking && event.preventDefault());
    byId("forget").addEventListener("click", () => this.#forget());
    byId("forget").hidden = !sessionStorage.getItem(KEPT);
  }

  ask(row) {
    this.#row = row;
    this.#wanted = !row.target.transforms_enabled;
    const word = this.#wanted ? "on" : "off";
    byId("dialog-title").textContent = `Switch ${word} the transforms of ${row.name}?`;
    byId("dialog-text").textContent = this.#wanted
      ? `${row.name} applies its transforms to every message from now on.`
      : `${row.name} delivers messages unchanged from now on.`;
    byId("confirm").textContent = `Switch ${word}`;
    byId("token-field").hidden = Boolean(sessionStorage.getItem(KEPT));
    this.#refuse("");
    this.#dialog.showModal();
    (byId("token-field").hidden ? byId("cancel") : byId("token")).focus();
  }

  async #switch() {
    if (this.#asking) return;
    const token = sessionStorage.getItem(KEPT) ?? byId("token").value.trim();
    if (!/^[\x21-\x7e]+$/.test(token)) {
      this.#refuse(token ? "A token has no spaces and only ASCII characters." : "Enter the API token.");
      byId("token").focus();
      return;
    }
    this.#busy(true);
    let enabled;
    try {
      enabled = await writeTransforms(this.#row.name, this.#wanted, token);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#busy(false);
      this.#failed(error);
      return;
    }
    this.#busy(false);
    this.#done(enabled, token);
  }

  #done(enabled, token) {
    sessionStorage.setItem(KEPT, token);
    byId("forget").hidden = false;
    byId("token").value = "";
    this.#row.setTransforms(enabled);
    this.#dialog.close();
    const word = enabled ? "on" : "off";
    if (enabled === this.#wanted) this.#toast(`${this.#row.name} reports: transforms are ${word}.`, false);
    else this.#toast(`${this.#row.name} accepted the request but still reports: transforms are ${word}.`, true);
  }

  #failed(problem) {
    if (problem.status === 401) {
      this.#forget();
      byId("token-field").hidden = false;
      this.#refuse("The exporter did not accept this API token.");
      byId("token").focus();
      byId("token").select();
      return;
    }
    this.#refuse(problem.message);
  }

  #forget() {
    sessionStorage.removeItem(KEPT);
    byId("forget").hidden = true;
    if (!this.#dialog.open) this.#toast("The API token was forgotten.", false);
  }

  #refuse(text) {
    byId("refusal").textContent = text;
    byId("refusal").hidden = !text;
  }

  #busy(asking) {
    this.#asking = asking;
    this.#dialog.setAttribute("aria-busy", String(asking));
    for (const id of ["confirm", "cancel", "token"]) byId(id).disabled = asking;
    if (asking) this.#refuse("");
  }

  #toast(text, strange) {
    const toast = byId("toast");
    toast.textContent = text;
    toast.classList.toggle("strange", strange);
    toast.hidden = false;
    clearTimeout(this.#fade);
    this.#fade = setTimeout(() => (toast.hidden = true), SHOWN);
  }
}
