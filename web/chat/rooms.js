// Owns the rooms of the signed-in user: their list, which one is open, unread counts, entering, making and leaving.
// Emits "list" (any room's line), "room" (the open one's head), "open" (another one, or none), "gone" (a room, and whether it was
// open), "outbox" (what some room has to send), "news" (a message of somebody else's in the open room), "typing", "members".

import { Timeline, path } from "../client/hubbub.js";
import { Emitter } from "../client/emitter.js";

const PAGE = 100;
const MOST_ROOMS = 500;
/** So long the reason for a room's absence from the list may be on its way. */
const REASON_MS = 2_000;

/** One room as the page knows it; `room` is the client's. */
class Entry {
  kind = "public";
  /** owner, moderator, member; null where one is not a member (an open room may be used without). */
  role = null;
  /** The seq up to which `unread` and `last` are right. */
  head = 0;
  unread = 0;
  readSeq = 0;
  last = null;
  leaving = false;
  /** Whether the list, which had it, has it no more: it goes once the hub has let us in again, or not. */
  missing = false;
  /** Only while the room is open. */
  timeline = null;
  /** Who is typing: user_id to {user, until}. */
  typists = new Map();

  constructor(room) {
    this.room = room;
    this.name = this.title = room.name;
  }

  get mayManage() {
    return this.role === "owner" || this.role === "moderator";
  }

  /** Takes over what the API says. Counts that are older than the events seen since are left out. */
  describe(about) {
    this.title = about.title || this.name;
    this.kind = about.kind ?? this.kind;
    this.role = about.role ?? this.role;
    if (typeof about.unread !== "number" || about.head < this.head) return;
    this.head = about.head;
    this.unread = about.unread;
    this.readSeq = Math.max(this.readSeq, about.read_seq ?? 0);
    this.last = about.last_message ?? this.last;
  }

  /** A numbered event came; says whether it is a message that is new here. */
  take(event, mine) {
    this.typists.delete(event.user_id);
    if (event.seq <= this.head) return;
    this.head = event.seq;
    if (event.type !== "message") return;
    this.last = event;
    if (!mine) this.unread += 1;
  }

  /** Read up to `seq`, here or in another session. */
  read(seq) {
    if (seq < this.readSeq) return;
    this.readSeq = seq;
    this.unread = seq >= this.head ? 0 : Math.min(this.unread, this.head - seq);
  }
}

export class Rooms extends Emitter {
  #byName = new Map();
  #again = null;
  /** Left since the list was asked for. */
  #dropped = new Set();
  #loading = null;
  #stale = false;
  hub;
  open = null;
  loaded = false;
  failed = false;

  constructor(hub) {
    super();
    this.hub = hub;
    // What happened while there was no connection to the list itself was told to nobody.
    hub.on("hello", () => this.load());
    hub.on("member_added", ({ user_id }) => this.isMe(user_id) && this.load());
  }

  isMe(userId) {
    return userId === this.hub.user?.id;
  }

  /** Those with the latest message first. */
  get all() {
    const when = ({ last }) => last?.timestamp ?? "";
    return [...this.#byName.values()].sort((a, b) =>
      when(a) === when(b) ? a.title.localeCompare(b.title) : when(a) < when(b) ? 1 : -1);
  }

  get unread() {
    return this.all.reduce((sum, { unread }) => sum + unread, 0);
  }

  get(name) {
    return this.#byName.get(name);
  }

  /** Loads the list anew and joins what is new in it; what one no longer belongs to goes. Many ask at once: one load, and one after it. */
  load() {
    this.#stale = true;
    this.#loading ??= this.#loadAll().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #loadAll() {
    while (this.#stale) {
      this.#stale = false;
      await this.#loadOnce();
    }
  }

  async #loadOnce() {
    clearTimeout(this.#again);
    // A room that is entered while the list is on its way is not missing from it.
    const before = this.all.filter(({ role }) => role);
    const named = new Set();
    this.#dropped.clear();
    try {
      for (let answer = { more: true }, after; answer.more && named.size < MOST_ROOMS; ) {
        answer = await this.hub.call("GET", path("me", "rooms"), { query: { after, limit: PAGE } });
        for (const about of answer.rooms) {
          named.add((after = about.name));
          // The list may be older than a departure.
          if (this.#dropped.has(after)) continue;
          const entry = this.#entry(after);
          entry.describe(about);
          entry.missing = false;
          entry.room.join({ after: about.head, epoch: about.epoch }).catch(() => {});
        }
        if (!answer.rooms.length) break;
      }
      if (named.size < MOST_ROOMS) before.filter(({ name }) => !named.has(name)).forEach((entry) => this.#missing(entry));
      this.loaded = true;
      this.failed = false;
    } catch {
      this.failed = true;
      this.#again = setTimeout(() => this.load(), 5_000);
    }
    this.emit("list");
    this.emit("room");
  }

  /** Why one is out of it, a ban perhaps, the hub tells: a frame that is on its way, or the answer to joining it again. */
  #missing(entry) {
    entry.missing = true;
    if (!entry.room.joined) return;
    setTimeout(() => entry.missing && this.get(entry.name) === entry && entry.room.leave(), REASON_MS);
  }

  #entry(name) {
    if (this.#byName.has(name)) return this.#byName.get(name);
    const entry = new Entry(this.hub.room(name));
    const { room } = entry;
    const ends = [
      room.on("message", (message) => this.#message(entry, message)),
      room.on("event", (event) => entry.take(event)),
      room.on("typing", ({ user_id, user }) => {
        if (this.isMe(user_id)) return;
        entry.typists.set(user_id, { user, until: Date.now() + 7_000 });
        this.emit("typing", entry);
      }),
      room.on("read", ({ seq }) => {
        entry.read(seq);
        this.emit("list");
      }),
      room.on("members", () => this.emit("members", entry)),
      room.on("updated", ({ title }) => this.#retitle(entry, title)),
      room.on("reset", ({ head }) => {
        entry.head = head;
        this.load();
      }),
      room.on("outbox", () => this.emit("outbox")),
      room.on("sent", () => this.#settle(entry)),
      room.on("joined", () => {
        if (entry.missing) room.leave();
        else if (entry === this.open) this.emit("room");
      }),
      room.on("left", (how) => {
        ends.forEach((end) => end());
        this.#drop(entry, how);
      }),
    ];
    this.#byName.set(name, entry);
    return entry;
  }

  #message(entry, message) {
    const mine = this.isMe(message.user_id);
    entry.take(message, mine);
    this.emit("list");
    if (entry === this.open && !mine) this.emit("news", message);
  }

  /** The rooms that may be browsed, a page of them. */
  browse(after) {
    return this.hub.call("GET", path("rooms"), { query: { after, limit: PAGE } });
  }

  async make({ name, title, kind }) {
    const made = await this.hub.call("POST", path("rooms"), { body: { name, kind, ...(title ? { title } : {}) } });
    return this.enter(made.name, { role: "owner", ...made });
  }

  async rename(entry, title) {
    await this.hub.call("PATCH", path("rooms", entry.name), { body: { title } });
    this.#retitle(entry, title);
  }

  #retitle(entry, title) {
    entry.title = title || entry.name;
    this.emit("list");
    this.emit("room");
  }

  /**
   * Enters a room that is not in the list; throws the hub's error. An open room may be used without belonging to it, and one that its
   * first message will make can only be: so joining comes first.
   */
  async enter(name, about = null) {
    const entry = this.#entry(name);
    await entry.room.join();
    entry.head = Math.max(entry.head, entry.room.cursor);
    if (about) entry.describe(about);
    if (!entry.role && (about || entry.head > 0)) await this.#belong(entry);
    await this.load();
    return entry;
  }

  /** Makes the user a member; where the hub says no, the room goes on being used without. */
  async #belong(entry) {
    try {
      entry.role = (await this.hub.call("PUT", path("rooms", entry.name, "members", this.hub.user.id), { body: {} }))?.role ?? "member";
    } catch {
      entry.role = null;
    }
  }

  /** After a message to a room that one did not belong to: it exists now, so that one can. */
  async #settle(entry) {
    if (entry.role || entry.settled) return;
    entry.settled = true;
    await this.load();
    if (entry.role) return;
    await this.#belong(entry);
    await this.load();
  }

  async leave(entry) {
    entry.leaving = true;
    try {
      if (entry.role) await this.removeMember(entry, this.hub.user.id);
    } catch (error) {
      entry.leaving = false;
      if (error.code !== "room_not_found" && error.code !== "not_found") throw error;
    }
    entry.room.leave();
  }

  members(entry, after) {
    return this.hub.call("GET", path("rooms", entry.name, "members"), { query: { after, limit: PAGE } });
  }

  addMember(entry, userId) {
    return this.hub.call("PUT", path("rooms", entry.name, "members", userId), { body: {} });
  }

  removeMember(entry, userId) {
    return this.hub.call("DELETE", path("rooms", entry.name, "members", userId));
  }

  #drop(entry, how) {
    this.#byName.delete(entry.name);
    this.#dropped.add(entry.name);
    const wasOpen = this.open === entry;
    if (wasOpen) this.show(null);
    this.emit("gone", { entry, wasOpen, how });
    this.emit("list");
  }

  /** Opens a room, or none. */
  show(entry) {
    if (this.open === entry) return;
    if (this.open) {
      this.open.timeline.close();
      this.open.timeline = null;
    }
    this.open = entry;
    this.hub.focus = entry?.room ?? null;
    if (entry) entry.timeline = new Timeline(entry.room, { page: PAGE });
    this.emit("open");
  }
}
