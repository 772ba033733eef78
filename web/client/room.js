// Owns one room as this client sees it: its cursor in the room's log, joining from there, sending, and what may be asked of it.
// Emits "message" and "event" (numbered: each once, in order), "joined", "reset", "left", "outbox", "sent", and what has no number:
// "typing", "read", "members", "updated", "lagged".

import { Emitter } from "./emitter.js";
import { ConnectionLost, HubError } from "./errors.js";
import { path } from "./http.js";
import { Outbox } from "./outbox.js";

const TYPING_MS = 3_000;
const EVENTS = { typing: "typing", read: "read", member_added: "members", member_removed: "members", room_updated: "updated" };

export class Room extends Emitter {
  #hub;
  #outbox;
  #told = 0;
  #entering = null;
  #caughtUp = 0;
  /** Frames that came while an answer to a join is awaited: they may be read together with it, and count from its cursor. */
  #early = null;
  /** The seq of the last event that was received, of the log that `epoch` names; null before the first join. */
  cursor = null;
  epoch = undefined;
  /** Whether this client wants to be in the room, and whether it is at present. */
  wanted = false;
  joined = false;

  constructor(hub, name) {
    super();
    this.#hub = hub;
    this.name = name;
    this.#outbox = new Outbox({
      isOpen: () => this.joined, deliver: (entry) => this.#deliver(entry), changed: () => this.emit("outbox", this.outbox),
    });
  }

  get user() {
    return this.#hub.user;
  }

  /** Messages that are not known to be stored, oldest first. */
  get outbox() {
    return this.#outbox.entries;
  }

  /** Whether what was missed is still coming. */
  get catchingUp() {
    return this.wanted && this.cursor !== null && (!this.joined || this.cursor < this.#caughtUp);
  }

  /**
   * Joins from a cursor, or from now on, and stays: after each lost connection it is joined again from where it was. Waits for a
   * connection; throws the HubError of a hub that says no.
   */
  join({ after, epoch } = {}) {
    if (this.joined) return Promise.resolve(this);
    if (after !== undefined && !(Number.isSafeInteger(after) && after >= 0)) {
      return Promise.reject(new HubError({ code: "bad_field", message: "`after` must be a seq: a whole number from 0 on" }));
    }
    if (after !== undefined && this.cursor === null) Object.assign(this, { cursor: after, epoch });
    this.wanted = true;
    if (!this.#entering) {
      const entering = {};
      entering.promise = new Promise((resolve, reject) => Object.assign(entering, { resolve, reject }));
      // Whoever does not wait for it hears "left".
      entering.promise.catch(() => {});
      this.#entering = entering;
    }
    const { promise } = this.#entering;
    this.#hub.joinWanted();
    return promise;
  }

  /** Leaves: nothing more comes, and what was not sent yet is not sent. Membership stays as it is. */
  leave() {
    if (this.wanted) this.#gone(null);
  }

  /** Whether the hub has us in the room or not, it need not any more. */
  #part() {
    this.#hub.request({ type: "leave", room: this.name }).catch(() => {});
  }

  /** Sends a message: kept until it is stored, through lost connections, once. Resolves with its seq; rejects with what the hub has against it. */
  send(message, options) {
    if (!this.wanted) return Promise.reject(new HubError({ code: "not_joined", message: "join the room first" }));
    return this.#outbox.add(message, options);
  }

  retry(clientId) {
    this.#outbox.retry(clientId);
  }

  discard(clientId) {
    this.#outbox.discard(clientId);
  }

  /** A page of events, ascending: the newest, or before, after or around a seq. */
  history({ before, after, around, limit } = {}) {
    return this.#hub.call("GET", path("rooms", this.name, "messages"), { query: { before, after, around, limit } });
  }

  /** Marks as read up to a seq, for all of the user's sessions. */
  read(seq) {
    return this.#hub.request({ type: "read", room: this.name, seq });
  }

  /** Who is here: {count, users: [{user_id, user}]}, the first 100. */
  presence() {
    return this.#hub.request({ type: "presence", room: this.name });
  }

  /** Tells the others that the user is writing; call it at each key, it is told once in 3 s. */
  typing() {
    if (!this.joined || Date.now() - this.#told < TYPING_MS) return;
    this.#told = Date.now();
    this.#hub.request({ type: "typing", room: this.name }).catch(() => {});
  }

  /** It is being joined; what is given goes with the answer. */
  entering() {
    this.#early = [];
    return this.#early;
  }

  /** Whether an answer is to what was asked last: the room may have been left since, or the socket have gone. */
  awaits(asked) {
    if (this.#early === asked) return true;
    // The hub has us in a room where we count no more.
    if (!this.joined) this.#part();
    return false;
  }

  /** The answer to a join or a resume. */
  entered({ head, epoch, replay = 0, reset = false }) {
    const from = this.cursor;
    this.joined = true;
    this.epoch = epoch ?? this.epoch;
    if (reset || from === null) this.cursor = head;
    this.#caughtUp = replay ? head : this.cursor;
    if (reset && from !== null) this.emit("reset", { head, epoch, after: from });
    this.emit("joined", { head, replay, first: from === null });
    this.#entering?.resolve(this);
    this.#entering = null;
    const early = this.#early ?? [];
    this.#early = null;
    early.forEach((frame) => this.take(frame));
    this.#outbox.pump();
  }

  /** The hub does not let us in, or no longer. */
  refused(error, told = null) {
    if (this.wanted) this.#gone(error, told);
  }

  #gone(error, told = null) {
    // Also where a membership has ended: a public room's events would go on coming.
    if (this.joined) this.#part();
    Object.assign(this, { wanted: false, joined: false, cursor: null, epoch: undefined });
    this.#early = null;
    const why = error ?? new HubError({ code: "not_joined", message: "the room was left" });
    this.#entering?.reject(why);
    this.#entering = null;
    const unsent = this.#outbox.end(why);
    this.emit("left", { error, unsent, ...told });
  }

  /** The socket is gone. */
  down() {
    this.#early = null;
    this.joined = false;
  }

  /** A frame about this room came. */
  take(frame) {
    // What was on its way when it was left.
    if (!this.wanted) return;
    if (this.#early) return void this.#early.push(frame);
    if (typeof frame.seq === "number" && frame.type !== "read") return this.#numbered(frame);
    if (frame.type === "lagged") {
      if (!frame.reset) return this.emit("lagged");
      const after = this.cursor;
      Object.assign(this, { cursor: frame.head, epoch: frame.epoch ?? this.epoch });
      this.emit("reset", { head: frame.head, epoch: frame.epoch, after });
      return this.#hub.judge();
    }
    const mine = frame.user_id === this.user?.id;
    const kind = EVENTS[frame.type];
    if (kind) this.emit(kind, frame);
    if (frame.type === "member_removed" && mine) {
      const code = frame.banned ? "banned" : "forbidden";
      this.refused(new HubError({ code, message: frame.reason || "you were taken out of the room" }), frame);
    }
  }

  #numbered(event) {
    if (this.cursor === null || event.seq <= this.cursor) return;
    this.cursor = event.seq;
    if (event.type === "message") {
      if (event.user_id === this.user?.id) this.#outbox.delivered(event);
      this.emit("message", event);
    } else {
      // Of a kind that is newer than this client, perhaps: it moves the cursor all the same.
      this.emit("event", event);
    }
    if (event.seq === this.#caughtUp) this.#hub.judge();
  }

  /** Sends one and gives its ok; null where the room has to be joined first. */
  async #deliver({ clientId, message, data }) {
    try {
      const ok = await this.#hub.send({ type: "send", room: this.name, message, data, client_id: clientId });
      this.emit("sent", { room: this.name, seq: ok.seq, timestamp: ok.timestamp, message, data, client_id: clientId });
      return ok;
    } catch (error) {
      if (error instanceof ConnectionLost) return null;
      if (error.code !== "not_joined") throw error;
      this.joined = false;
      this.#hub.joinWanted();
      return null;
    }
  }
}
