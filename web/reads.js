// Owns marking as read: the open room, once its newest message is in view of a visible tab, at most once a second.

const EVERY_MS = 1_000;

export class Reads {
  #rooms;
  #connection;
  #inView;
  #timer = null;
  /** Room to seq: seen, not told yet. */
  #seen = new Map();
  #last = 0;

  /** `inView()` says whether the newest message of the open room can be seen. */
  constructor(rooms, connection, inView) {
    this.#rooms = rooms;
    this.#connection = connection;
    this.#inView = inView;
    for (const what of ["log", "room"]) rooms.addEventListener(what, () => this.look());
    document.addEventListener("visibilitychange", () => this.look());
  }

  /** Something changed that may have brought the newest message into view. What was seen counts, also if it has gone since. */
  look() {
    const room = this.#rooms.open;
    if (!this.#connection.online || !room?.joined || room.log?.state !== "ready") return;
    if (document.visibilityState !== "visible" || !this.#inView()) return;
    const seq = Math.max(room.cursor ?? 0, room.log.newestSeq);
    if (seq <= room.readSeq && (room.unread === 0 || seq < room.head)) return;
    this.#seen.set(room, seq);
    this.#timer ??= setTimeout(() => this.#mark(), Math.max(50, this.#last + EVERY_MS - Date.now()));
  }

  async #mark() {
    const seen = [...this.#seen];
    this.#seen.clear();
    this.#last = Date.now();
    await Promise.all(seen.map(([room, seq]) => this.#markRoom(room, seq)));
    this.#timer = null;
    this.#rooms.tell("list");
    this.look();
  }

  async #markRoom(room, seq) {
    try {
      await this.#connection.request({ type: "read", room: room.name, seq });
    } catch (error) {
      // A lost connection comes back and looks again. A refusal (one need not be a member) is counted as read in this page.
      if (error.code === undefined || error.retryable) return;
    }
    room.read(seq);
    if (seq >= room.head) room.unread = 0;
  }
}
