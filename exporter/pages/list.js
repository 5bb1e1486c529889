// The rows in their order, those that the search and the filter leave.

import { byId, setText } from "./dom.js";
import { count } from "./format.js";

const names = new Intl.Collator("en", { numeric: true });
const byName = (a, b) => names.compare(a.name, b.name);
const ORDERS = {
  worst: (a, b) => a.severity - b.severity || byName(a, b),
  name: byName,
  busy: (a, b) => (b.connections.rate ?? -1) - (a.connections.rate ?? -1) || byName(a, b),
  slow: (a, b) => (b.target.round_trip_seconds ?? Infinity) - (a.target.round_trip_seconds ?? Infinity) || byName(a, b),
};
const SHOWS = {
  all: () => true,
  down: (row) => !row.target.up,
  off: (row) => row.target.transforms_enabled === false,
};

const MOST = 1000; // rows on the page: more would slow down the browser

export class List {
  #rows = [];
  #list = byId("rows");
  #search = byId("search");
  #sort = byId("sort");
  #filters = [...document.querySelectorAll("[data-show]")];
  #show = "all";

  constructor() {
    this.#restore();
    this.#search.addEventListener("input", () => this.#chosen());
    this.#sort.addEventListener("change", () => this.#chosen());
    for (const button of this.#filters) {
      button.addEventListener("click", () => this.#choose(button.dataset.show));
    }
    byId("show-all").addEventListener("click", () => {
      this.#search.value = "";
      this.#choose("all");
      this.#search.focus();
    });
    byId("tools").addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => this.#shortcut(event));
  }

  show(rows) {
    this.#rows = rows;
    this.#arrange();
  }

  #choose(show) {
    this.#show = show;
    this.#chosen();
  }

  #chosen() {
    const state = new URLSearchParams();
    if (this.#search.value) state.set("search", this.#search.value);
    if (this.#show !== "all") state.set("show", this.#show);
    if (this.#sort.value !== "worst") state.set("order", this.#sort.value);
    // In the address, so that a wall screen can be given its view.
    history.replaceState(null, "", `#${state}`);
    this.#arrange();
  }

  #restore() {
    const state = new URLSearchParams(location.hash.slice(1));
    this.#search.value = state.get("search") ?? "";
    if (Object.hasOwn(SHOWS, state.get("show") ?? "")) this.#show = state.get("show");
    if (Object.hasOwn(ORDERS, state.get("order") ?? "")) this.#sort.value = state.get("order");
  }

  #arrange() {
    const wanted = this.#search.value.trim().toLowerCase();
    const ordered = [...this.#rows].sort(ORDERS[this.#sort.value]);
    const fitting = ordered.filter((row) => SHOWS[this.#show](row) && row.text.includes(wanted));
    this.#place(fitting.slice(0, MOST).map((row) => row.element));
    this.#count();
    byId("no-match").hidden = fitting.length > 0;
    setText(byId("no-match-text"), this.#nothing(wanted));
    byId("beyond").hidden = fitting.length <= MOST;
    setText(byId("beyond"), `${count(fitting.length - MOST)} more are not shown: search or filter to find them.`);
  }

  // Moves only what is not in its place, and keeps the keyboard where it was.
  #place(elements) {
    const focused = document.activeElement;
    let place = this.#list.firstElementChild;
    for (const element of elements) {
      if (element === place) place = place.nextElementSibling;
      else this.#list.insertBefore(element, place);
    }
    while (place) {
      const next = place.nextElementSibling;
      place.remove();
      place = next;
    }
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  }

  #count() {
    for (const button of this.#filters) {
      const { show } = button.dataset;
      button.setAttribute("aria-pressed", String(show === this.#show));
      setText(byId(`count-${show}`), String(this.#rows.filter(SHOWS[show]).length));
    }
  }

  #nothing(wanted) {
    if (wanted) return `No target here has “${wanted}” in its name, labels or error.`;
    return this.#show === "down" ? "No target is down." : "No target has its transforms off.";
  }

  #shortcut(event) {
    const typing = event.target.closest?.("input, select, textarea, dialog");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.#search.focus();
    }
  }
}
