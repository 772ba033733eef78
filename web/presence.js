// Owns "who is here" of the open room: asked for every 20 s while someone can see it, and when somebody shows up who was
// not there.

import { byId } from "./dom.js";
import { nameNodes } from "./texts.js";

const EVERY_MS = 20_000;
const AT_MOST_MS = 2_000;

export class Presence {
  #rooms;
  #connection;
  #asked = 0;
  #room = null;
  #here = new Set();

  constructor(rooms, connection) {
    this.#rooms = rooms;
    this.#connection = connection;
    // "room" also comes when the room is joined on a new socket.
    for (const what of ["open", "room"]) rooms.addEventListener(what, () => this.#ask(true));
    rooms.addEventListener("news", ({ detail }) => this.#seen(detail.user_id));
    rooms.addEventListener("typing", ({ detail }) => this.#seen(detail.event.user_id));
    document.addEventListener("visibilitychange", () => this.#ask());
    setInterval(() => this.#ask(), 1_000);
  }

  #seen(userId) {
    if (!this.#here.has(userId) && Date.now() - this.#asked > AT_MOST_MS) this.#ask(true);
  }

  async #ask(now = false) {
    const room = this.#rooms.open;
    if (room !== this.#room) byId("presence").replaceChildren();
    this.#room = room;
    const due = now || Date.now() - this.#asked > EVERY_MS;
    if (!due || !room?.joined || document.visibilityState !== "visible") return;
    this.#asked = Date.now();
    try {
      const { count, users } = await this.#connection.request({ type: "presence", room: room.name });
      if (this.#rooms.open !== room) return;
      this.#here = new Set(users.map((user) => user.user_id));
      this.#show(count, users);
    } catch {
      // What is shown is the last that was known; the next round asks again.
    }
  }

  #show(count, users) {
    const names = users.map(({ user }) => user).sort((a, b) => a.localeCompare(b));
    const list = names.length ? [": ", ...nameNodes(names, count)] : [];
    byId("presence").replaceChildren(`${count} here`, ...list);
  }
}
