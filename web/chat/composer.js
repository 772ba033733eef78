// Owns the box where a message is written: Enter sends, it grows with the text, the length limit, the open room's draft.

import { byId, say } from "../shared/dom.js";
import { t } from "../shared/language.js";

const WARN_BELOW = 200;

export class Composer {
  #rooms;
  #box = byId("composer");
  #entry = null;
  #drafts;
  #send;

  /** `send(entry, text)` takes a message. */
  constructor(rooms, drafts, send) {
    this.#rooms = rooms;
    this.#drafts = drafts;
    this.#send = send;
    drafts.on("given-back", (name) => name === this.#entry?.name && this.#change());
    rooms.on("open", () => this.#change());
    this.#box.addEventListener("input", () => {
      this.#fit();
      drafts.set(this.#entry.name, this.#box.value);
      if (this.#box.value.trim()) this.#entry.room.typing();
    });
    this.#box.addEventListener("keydown", (event) => {
      // Enter that ends an input method's composition belongs to it (229 is what some browsers say instead).
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#submit();
    });
    byId("compose").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  #change() {
    this.#entry = this.#rooms.open;
    this.#box.value = this.#entry ? this.#drafts.of(this.#entry.name) : "";
    this.#fit();
  }

  /** What is left of the limit, in Unicode characters as the hub counts them. */
  get #left() {
    return (this.#rooms.hub.limits?.message_chars ?? 4_000) - [...this.#box.value].length;
  }

  #fit() {
    // Through the CSSOM, which a strict style-src allows.
    this.#box.style.height = "auto";
    this.#box.style.height = `${this.#box.scrollHeight + 2}px`;
    const left = this.#left;
    say(byId("composer-count"), left < 0 ? t("too-long-by", -left) : left < WARN_BELOW ? t("chars-left", left) : "");
  }

  #submit() {
    const text = this.#box.value;
    if (text.trim() !== "" && this.#left >= 0 && this.#entry) {
      this.#box.value = "";
      this.#drafts.set(this.#entry.name, "");
      this.#fit();
      this.#send(this.#entry, text);
    }
    this.#box.focus();
  }
}
