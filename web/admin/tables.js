// Owns the tables of sessions, users and rooms, and the record of acts: searched as one types, a page at a time. What is on the
// screen stays while the hub is away.

import { action, busy, byId, el, keyed, say, show } from "../shared/dom.js";
import { errorText, t } from "../shared/language.js";

const TYPING_MS = 250;

export class Table {
  #root;
  #load;
  #row;
  #key;
  #rows = [];
  #asked = 0;
  #timer = null;
  #search;

  /**
   * `load(q, last)` gives {rows, more, note} of the page after the row `last`; `row(item)` gives cells; `key(item)` names one.
   * `searched(q)` hears of what is searched for.
   */
  constructor(id, { load, row, key, searched = () => {} }) {
    this.#root = byId(`section-${id}`);
    this.#load = load;
    this.#row = row;
    this.#key = key;
    this.#search = this.#root.querySelector("[type=search]");
    action("more", this.#root).addEventListener("click", () => this.#more());
    action("reload", this.#root).addEventListener("click", () => this.load());
    this.#search?.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => {
        searched(this.#search.value);
        this.load();
      }, TYPING_MS);
    });
  }

  get q() {
    return this.#search?.value ?? "";
  }

  set q(text) {
    if (this.#search && this.#search.value !== text) this.#search.value = text;
  }

  /** Loads the first page anew. */
  load() {
    return this.#page(null);
  }

  #more() {
    return busy(this.#root.querySelector(".table-foot"), () => this.#page(this.#rows.at(-1)), () => {});
  }

  async #page(last) {
    const asked = (this.#asked += 1);
    const state = this.#root.querySelector(".state");
    if (!this.#rows.length) say(state, t("loading"));
    try {
      const { rows, more, note = "" } = await this.#load(this.q, last);
      // Meanwhile something else may have been searched for.
      if (asked !== this.#asked) return;
      this.#rows = last ? [...this.#rows, ...rows] : rows;
      keyed(this.#root.querySelector("tbody"), this.#rows, this.#key, (item) => el("tr", {}, ...this.#row(item)));
      show(this.#root.querySelector("table"), this.#rows.length > 0);
      show(action("more", this.#root), more);
      say(state, this.#rows.length ? note : t(this.q ? "nothing-found" : "nothing-yet"));
    } catch (error) {
      if (asked === this.#asked) say(state, errorText(error));
    }
  }
}

/** A cell; with its column's name for narrow screens, where a row is a card. */
export const cell = (name, ...content) => el("td", { "data-name": name ? t(name) : null }, ...content);
