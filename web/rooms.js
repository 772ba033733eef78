// Owns the rooms of the signed-in user: the list, which one is open, history pages, entering, making and leaving.
// Emits "list" (any room's line), "room" (the open one's head), "log" (its messages), "open" (another one, or none), "gone".

import { ApiError, path, query } from "./http.js";
import { RoomLog } from "./log.js";
import { Room } from "./room.js";

const PAGE = 50;
const MOST_ROOMS = 500;
const KEPT_MESSAGES = 300;

export class Rooms extends EventTarget {
  #session;
  #byName = new Map();
  open = null;
  loaded = false;
  me = { user: "", userId: "" };

  constructor(session) {
    super();
    this.#session = session;
  }

  tell(what, detail = null) {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }

  /** Those with the latest message first. */
  get all() {
    const when = (room) => room.last?.timestamp ?? "";
    return [...this.#byName.values()].sort((a, b) =>
      when(a) === when(b) ? a.title.localeCompare(b.title) : when(a) < when(b) ? 1 : -1);
  }

  get unread() {
    return this.all.reduce((sum, room) => sum + room.unread, 0);
  }

  get(name) {
    return this.#byName.get(name);
  }

  mine(event) {
    return event.user_id === this.me.userId;
  }

  /** Loads the list anew. Rooms that one no longer belongs to go, except those that are used without belonging. */
  async load() {
    // A room that is entered while the list is on its way is not missing from it.
    const before = new Set(this.all.filter((room) => room.role));
    const named = new Set();
    let answer = { more: true };
    let after;
    while (answer.more && named.size < MOST_ROOMS) {
      answer = await this.#session.call("GET", path("me", "rooms") + query({ after, limit: PAGE }));
      if (answer.rooms.length === 0) break;
      for (const data of answer.rooms) {
        this.#room(data.name).describe(data);
        named.add(data.name);
      }
      after = answer.rooms.at(-1).name;
    }
    this.loaded = true;
    const past = (room) => before.has(room) && !room.joining && !named.has(room.name);
    if (!answer.more) this.all.filter(past).forEach((room) => this.drop(room));
    this.tell("list");
    this.tell("room");
  }

  #room(name) {
    if (!this.#byName.has(name)) this.#byName.set(name, new Room(name));
    return this.#byName.get(name);
  }

  /** The rooms that may be browsed, a page of them. */
  browse(after) {
    return this.#session.call("GET", path("rooms") + query({ after, limit: PAGE }));
  }

  async make({ name, title, kind }, join) {
    const made = await this.#session.call("POST", path("rooms"), { name, kind, ...(title ? { title } : {}) });
    return this.enter(made.name, join, { role: "owner", ...made });
  }

  async rename(room, title) {
    await this.#session.call("PATCH", path("rooms", room.name), { title });
    this.retitle(room, title);
  }

  retitle(room, title) {
    room.title = title || room.name;
    this.tell("list");
    this.tell("room");
  }

  /**
   * Enters a room that is not in the list. `join` is the socket's; `about` is what the API says of the room, where that is known.
   * An open room may be used without belonging to it, and one that its first message will make can only be: so joining comes first.
   */
  async enter(name, join, about = null) {
    const room = this.#room(name);
    if (room.joined) return room;
    room.joining = true;
    try {
      await join(room);
      if (about) room.describe(about);
      if (!room.role && (about || room.head > 0)) await this.#belong(room);
    } catch (error) {
      if (!room.joined) this.#byName.delete(name);
      throw error;
    } finally {
      room.joining = false;
      this.tell("list");
    }
    await this.load().catch(() => {});
    if (!room.role && !about && room.head > 0) {
      room.describe(await this.#session.call("GET", path("rooms", name)).catch(() => ({ title: room.title })));
      this.tell("list");
    }
    return room;
  }

  /** Makes the user a member; where the hub says no, the room goes on being used without. */
  async #belong(room) {
    try {
      const member = await this.#session.call("PUT", path("rooms", room.name, "members", this.me.userId), {});
      room.role = member?.role ?? room.role ?? "member";
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }

  /** After a message to a room that one did not belong to: it exists now, so that one can. */
  async settleIn(room) {
    if (room.role || room.settled) return;
    room.settled = true;
    await this.load();
    if (room.role) return;
    await this.#belong(room);
    await this.load();
  }

  async leave(room) {
    room.leaving = true;
    try {
      if (room.role) await this.removeMember(room, this.me.userId);
    } catch (error) {
      room.leaving = false;
      if (error.code !== "room_not_found" && error.code !== "not_found") throw error;
    }
    this.drop(room);
  }

  members(room, after) {
    return this.#session.call("GET", path("rooms", room.name, "members") + query({ after, limit: PAGE }));
  }

  addMember(room, userId) {
    return this.#session.call("PUT", path("rooms", room.name, "members", userId), {});
  }

  removeMember(room, userId) {
    return this.#session.call("DELETE", path("rooms", room.name, "members", userId));
  }

  /** Takes a room out of the page: it was left here or elsewhere, or someone took the user out. */
  drop(room) {
    if (!this.#byName.delete(room.name)) return;
    room.joined = false;
    const wasOpen = this.open === room;
    if (wasOpen) this.show(null);
    this.tell("gone", { room, wasOpen });
    this.tell("list");
  }

  /** Opens a room, or none. The log belongs to the open room only. */
  show(room) {
    if (this.open === room) return;
    if (this.open) this.open.log = null;
    this.open = room;
    this.tell("open");
    if (room) this.loadNewest(room);
  }

  /** Loads the newest page, first or anew. Live events may come before the page does: both go into one log. */
  async loadNewest(room) {
    const log = (room.log ??= new RoomLog());
    if (log.state === "loading") return;
    // Nothing has been written yet; a room that its first message will make would not even be found.
    if (room.joined && room.head === 0) {
      log.state = "ready";
      this.tell("log");
      return;
    }
    log.state = "loading";
    this.tell("log");
    try {
      const page = await this.#session.call("GET", path("rooms", room.name, "messages") + query({ limit: PAGE }));
      if (room.log !== log) return;
      log.addPage(page);
      room.last ??= log.messages.at(-1) ?? null;
      log.state = "ready";
    } catch {
      if (room.log !== log) return;
      log.state = "failed";
    }
    this.tell("log");
  }

  /** Loads the page before what is shown; says whether it worked. */
  async loadOlder(room) {
    const log = room.log;
    if (!log?.more || log.state !== "ready") return true;
    log.state = "older";
    this.tell("log");
    let worked = true;
    try {
      const range = query({ before: log.before, limit: PAGE });
      log.addPage(await this.#session.call("GET", path("rooms", room.name, "messages") + range));
    } catch {
      worked = false;
    }
    log.state = "ready";
    if (room.log === log) this.tell("log");
    return worked;
  }

  /** Called while the newest message is in view. */
  trim(room) {
    if (room.log?.messages.length > KEPT_MESSAGES + 100) room.log.trim(KEPT_MESSAGES);
  }
}
