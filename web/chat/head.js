// Owns the lines about people in the open room: who is here, asked for every 20 s while someone can see it and when somebody shows up
// who was not there; and who is typing.

import { byId, el } from "../shared/dom.js";
import { t, visible } from "../shared/language.js";

const EVERY_MS = 20_000;
const AT_MOST_MS = 2_000;

/** "alice, bob and 3 more" as nodes; <bdi> keeps each name's direction to itself. */
function nameNodes(names, total = names.length, most = 3) {
  const shown = total > most ? names.slice(0, most - 1) : names;
  const nodes = shown.flatMap((name, index) => (index ? [", ", el("bdi", {}, name)] : [el("bdi", {}, name)]));
  const rest = total - shown.length;
  return rest > 0 ? [...nodes, t("more-names", rest)] : nodes;
}

export class Head {
  #rooms;
  #asked = 0;
  #entry = null;
  /** The ids of those who are here. */
  here = new Set();

  constructor(rooms) {
    this.#rooms = rooms;
    // "room" also comes when the room is joined on a new socket.
    for (const what of ["open", "room"]) rooms.on(what, () => this.#ask(true));
    rooms.on("news", ({ user_id }) => this.#seen(user_id));
    rooms.on("typing", ({ typists }) => {
      [...typists.keys()].forEach((id) => this.#seen(id));
      this.#typing();
    });
    for (const what of ["open", "list"]) rooms.on(what, () => this.#typing());
    document.addEventListener("visibilitychange", () => this.#ask());
    setInterval(() => {
      this.#ask();
      this.#typing();
    }, 1_000);
  }

  #seen(userId) {
    if (!this.here.has(userId) && Date.now() - this.#asked > AT_MOST_MS) this.#ask(true);
  }

  async #ask(now = false) {
    const entry = this.#rooms.open;
    if (entry !== this.#entry) byId("presence").replaceChildren();
    this.#entry = entry;
    const due = now || Date.now() - this.#asked > EVERY_MS;
    if (!due || !entry?.room.joined || document.visibilityState !== "visible") return;
    this.#asked = Date.now();
    try {
      const { count, users } = await entry.room.presence();
      if (this.#rooms.open !== entry) return;
      this.here = new Set(users.map(({ user_id }) => user_id));
      const names = users.map(({ user, user_id }) => visible(user, user_id)).sort((a, b) => a.localeCompare(b));
      byId("presence").replaceChildren(t("here", count), ...(names.length ? [": ", ...nameNodes(names, count)] : []));
    } catch {
      // What is shown is the last that was known; the next round asks again.
    }
  }

  #typing() {
    const typists = this.#rooms.open?.typists ?? new Map();
    for (const [id, { until }] of typists) if (until < Date.now()) typists.delete(id);
    const names = [...typists].map(([id, { user }]) => visible(user, id));
    const shown = names.join("\n");
    const line = byId("typing");
    if (line.dataset.names === shown) return;
    line.dataset.names = shown;
    line.replaceChildren(...(names.length ? [...nameNodes(names), t("typing", names.length)] : []));
  }
}
