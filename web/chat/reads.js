// Owns marking as read: the open room, once its newest message is in view of a visible tab, at most once a second.

const EVERY_MS = 1_000;

export class Reads {
  #rooms;
  #inView;
  #timer = null;
  /** Entry to seq: seen, not told yet. */
  #seen = new Map();
  #last = 0;

  /** `inView()` says whether the newest message of the open room can be seen. */
  constructor(rooms, inView) {
    this.#rooms = rooms;
    this.#inView = inView;
    rooms.on("room", () => this.look());
    document.addEventListener("visibilitychange", () => this.look());
  }

  /** Something changed that may have brought the newest message into view. What was seen counts, also if it has gone since. */
  look() {
    const entry = this.#rooms.open;
    if (!entry?.room.joined || entry.timeline.state !== "ready") return;
    if (document.visibilityState !== "visible" || !this.#inView()) return;
    const seq = Math.max(entry.room.cursor, entry.timeline.messages.at(-1)?.seq ?? 0);
    if (seq <= entry.readSeq && (entry.unread === 0 || seq < entry.head)) return;
    this.#seen.set(entry, seq);
    this.#timer ??= setTimeout(() => this.#mark(), Math.max(50, this.#last + EVERY_MS - Date.now()));
  }

  async #mark() {
    const seen = [...this.#seen];
    this.#seen.clear();
    this.#last = Date.now();
    await Promise.all(seen.map(([entry, seq]) => this.#markRoom(entry, seq)));
    this.#timer = null;
    this.#rooms.emit("list");
    this.look();
  }

  async #markRoom(entry, seq) {
    try {
      if (seq > 0) await entry.room.read(seq);
    } catch (error) {
      // A lost connection comes back and looks again. A refusal (one need not be a member) is counted as read in this page.
      if (error.code === "connection_lost" || error.retryable) return;
    }
    entry.read(seq);
  }
}
