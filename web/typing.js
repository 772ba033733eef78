// Owns the typing indicator: telling the room that the user types, at most once in 3 s, and showing who else does.

import { byId } from "./dom.js";
import { nameNodes } from "./texts.js";

const TELL_MS = 3_000;
const FORGET_MS = 7_000;

export class Typing {
  #rooms;
  #connection;
  #told = 0;

  constructor(rooms, connection) {
    this.#rooms = rooms;
    this.#connection = connection;
    rooms.addEventListener("typing", ({ detail: { room, event } }) => {
      room.typists.set(event.user_id, { user: event.user, until: Date.now() + FORGET_MS });
      this.#show();
    });
    for (const what of ["open", "log"]) rooms.addEventListener(what, () => this.#show());
    setInterval(() => this.#show(), 1_000);
  }

  /** Something was typed into the composer. */
  typed(text) {
    const room = this.#rooms.open;
    if (!room?.joined || text.trim() === "" || Date.now() - this.#told < TELL_MS) return;
    this.#told = Date.now();
    this.#connection.notify({ type: "typing", room: room.name });
  }

  #show() {
    const typists = this.#rooms.open?.typists ?? new Map();
    for (const [id, { until }] of typists) if (until < Date.now()) typists.delete(id);
    const names = [...typists.values()].map(({ user }) => user);
    const shown = names.join("\n");
    const line = byId("typing");
    if (line.dataset.names === shown) return;
    line.dataset.names = shown;
    if (names.length) line.replaceChildren(...nameNodes(names), names.length > 1 ? " are typing…" : " is typing…");
    else line.replaceChildren();
  }
}
