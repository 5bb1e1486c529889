// The switch: asks before it switches, for the API token once, and shows the state that the server reports.

import { Problem, writeTransforms } from "./api.js";

const KEPT = "smtpstatus-api-token";
const SHOWN = 8000; // milliseconds of a toast
const part = (id) => document.getElementById(id);

export class Switching {
  #dialog = part("dialog");
  #row = null;
  #wanted = false;
  #asking = false;
  #fade = 0;

  constructor() {
    part("dialog-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#switch();
    });
    part("cancel").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("cancel", (event) => this.#asking && event.preventDefault());
    part("forget").addEventListener("click", () => this.#forget());
    part("forget").hidden = !sessionStorage.getItem(KEPT);
  }

  ask(row) {
    this.#row = row;
    this.#wanted = !row.target.transforms_enabled;
    const word = this.#wanted ? "on" : "off";
    part("dialog-title").textContent = `Switch ${word} the transforms of ${row.name}?`;
    part("dialog-text").textContent = this.#wanted
      ? `From the next mail on, ${row.name} runs every mail through its transforms.`
      : `From the next mail on, ${row.name} delivers mail as it comes, without its transforms.`;
    part("confirm").textContent = `Switch ${word}`;
    part("token-field").hidden = Boolean(sessionStorage.getItem(KEPT));
    this.#refuse("");
    this.#dialog.showModal();
    (part("token-field").hidden ? part("cancel") : part("token")).focus();
  }

  async #switch() {
    if (this.#asking) return;
    const token = sessionStorage.getItem(KEPT) ?? part("token").value.trim();
    if (!/^[\x21-\x7e]+$/.test(token)) {
      this.#refuse(token ? "A token has no spaces and no letters beyond ASCII." : "Give the API token first.");
      part("token").focus();
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
    part("forget").hidden = false;
    part("token").value = "";
    this.#row.told(enabled);
    this.#dialog.close();
    const word = enabled ? "on" : "off";
    if (enabled === this.#wanted) this.#toast(`${this.#row.name} reports: transforms are ${word}.`, false);
    else this.#toast(`${this.#row.name} took the order, and still reports: transforms are ${word}.`, true);
  }

  #failed(problem) {
    if (problem.status === 401) {
      this.#forget();
      part("token-field").hidden = false;
      this.#refuse("The exporter did not accept this API token.");
      part("token").focus();
      part("token").select();
      return;
    }
    this.#refuse(problem.message);
  }

  #forget() {
    sessionStorage.removeItem(KEPT);
    part("forget").hidden = true;
    if (!this.#dialog.open) this.#toast("The API token is forgotten.", false);
  }

  #refuse(text) {
    part("refusal").textContent = text;
    part("refusal").hidden = !text;
  }

  #busy(asking) {
    this.#asking = asking;
    this.#dialog.setAttribute("aria-busy", String(asking));
    for (const id of ["confirm", "cancel", "token"]) part(id).disabled = asking;
    if (asking) this.#refuse("");
  }

  #toast(text, strange) {
    const toast = part("toast");
    toast.textContent = text;
    toast.classList.toggle("strange", strange);
    toast.hidden = false;
    clearTimeout(this.#fade);
    this.#fade = setTimeout(() => (toast.hidden = true), SHOWN);
  }
}
