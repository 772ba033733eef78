// Owns the box where a message is written: Enter sends, drafts per room, growing with the text, the length limit.

import { byId, say } from "./dom.js";

const WARN_BELOW = 200;

export class Composer {
  #rooms;
  #connection;
  #box = byId("composer");
  #room = null;
  #send;
  #typed;

  /** `send(room, text)` takes a message, `typed(text)` hears of each change by the user. */
  constructor(rooms, connection, { send, typed }) {
    this.#rooms = rooms;
    this.#connection = connection;
    this.#send = send;
    this.#typed = typed;
    rooms.addEventListener("open", () => this.#change());
    this.#box.addEventListener("input", () => {
      this.#fit();
      this.#typed(this.#box.value);
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
    if (this.#room) this.#room.draft = this.#box.value;
    this.#room = this.#rooms.open;
    this.#box.value = this.#room?.draft ?? "";
    this.#fit();
  }

  /** What is left of the limit, in Unicode characters as the hub counts them. */
  get #left() {
    const most = this.#connection.hello?.limits?.message_chars ?? 4_000;
    return most - [...this.#box.value].length;
  }

  #fit() {
    // Through the CSSOM, which a strict style-src allows.
    this.#box.style.height = "auto";
    this.#box.style.height = `${this.#box.scrollHeight + 2}px`;
    const left = this.#left;
    say(byId("composer-count"), left < 0 ? `Too long by ${-left}` : left < WARN_BELOW ? `${left} characters left` : "");
  }

  #submit() {
    const text = this.#box.value;
    if (text.trim() !== "" && this.#left >= 0 && this.#room) {
      this.#box.value = "";
      this.#fit();
      this.#send(this.#room, text);
    }
    this.#box.focus();
  }
}
