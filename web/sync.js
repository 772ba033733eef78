// Owns keeping the rooms in step with the hub: joining them on each new socket from where the last one ended, and carrying each
// event to where it belongs.

import { notice } from "./dom.js";
import { ApiError, sleep } from "./http.js";
import { ConnectionLost, insist } from "./socket.js";

/** Each room of a resume counts as a command: 20 a second, 60 at once. */
const AT_ONCE = 20;
const PAUSE_MS = 1_200;
const RELOAD_MS = 5_000;

export class Sync {
  #connection;
  #rooms;
  #outbox;
  #reload = null;
  #sockets = 0;

  constructor(connection, rooms, outbox) {
    this.#connection = connection;
    this.#rooms = rooms;
    this.#outbox = outbox;
    connection.addEventListener("open", ({ detail }) => this.#opened(detail));
    connection.addEventListener("event", ({ detail }) => this.#event(detail));
    outbox.addEventListener("not-joined", ({ detail }) => this.#resume([detail]));
  }

  /** First the rooms that are known, each from its cursor; then the list, which may name more and has the right counts. */
  #opened(hello) {
    this.#sockets += 1;
    this.#rooms.me = { user: hello.user, userId: hello.user_id };
    for (const room of this.#rooms.all) room.joined = false;
    this.#resume(this.#rooms.all.filter((room) => room.cursor !== null));
    this.reload();
  }

  /** Loads the list and joins what is new in it. */
  async reload() {
    clearTimeout(this.#reload);
    try {
      await this.#rooms.load();
      this.#resume(this.#rooms.all.filter((room) => !room.joined && !room.joining));
    } catch {
      if (!this.#connection.online) return;
      notice("Your rooms could not be loaded. Trying again.");
      this.#reload = setTimeout(() => this.#connection.online && this.reload(), RELOAD_MS);
    }
  }

  /** Joins rooms, the open one first, in portions that the hub's rate allows. */
  async #resume(rooms) {
    const socket = this.#sockets;
    const limit = this.#connection.hello?.limits?.rooms ?? 500;
    const waiting = rooms.slice(0, limit);
    waiting.sort((a, b) => Number(b === this.#rooms.open) - Number(a === this.#rooms.open));
    for (const room of waiting) room.joining = true;
    try {
      while (waiting.length && socket === this.#sockets) {
        await this.#portion(waiting.splice(0, AT_ONCE));
        if (waiting.length) await sleep(PAUSE_MS);
      }
    } catch (error) {
      // The next socket's opening does it all again.
      if (!(error instanceof ConnectionLost)) notice("Some rooms could not be joined.");
    } finally {
      if (socket === this.#sockets) for (const room of rooms) room.joining = false;
    }
  }

  async #portion(rooms) {
    const cursor = ({ cursor, epoch }) => ({ after: cursor, epoch });
    const named = Object.fromEntries(rooms.map((room) => [room.name, cursor(room)]));
    const reply = await insist(this.#connection, { type: "resume", rooms: named });
    const answers = new Map(Object.entries(reply.rooms));
    for (const room of rooms) {
      room.joining = false;
      const answer = answers.get(room.name);
      if (!answer) continue;
      if (answer.error) this.#refused(room, answer.error);
      else this.#joined(room, answer);
    }
  }

  #joined(room, answer) {
    room.joined = true;
    if (answer.reset) this.#reset(room, answer);
    else room.epoch = answer.epoch ?? room.epoch;
    if (room.log?.state === "failed") this.#rooms.loadNewest(room);
    this.#outbox.pump(room);
    if (room === this.#rooms.open) this.#rooms.tell("room");
  }

  #reset(room, { head, epoch }) {
    room.reset(head, epoch);
    if (room.log) this.#rooms.loadNewest(room);
  }

  #refused(room, error) {
    if (error.code === "forbidden" || error.code === "room_not_found") this.#rooms.drop(room);
    else if (error.retryable) setTimeout(() => this.#resume([room]), error.retry_after_ms || 3_000);
  }

  /** Joins a room that is not in the list; throws the hub's error. */
  async join(room) {
    try {
      const answer = await insist(this.#connection, { type: "join", room: room.name });
      this.#joined(room, { ...answer, reset: true });
    } catch (error) {
      throw error instanceof ConnectionLost ? new ApiError({ code: "network" }) : error;
    }
  }

  /** Lets go of a room that was dropped, as far as the hub still serves it. */
  part(room) {
    this.#connection.notify({ type: "leave", room: room.name });
  }

  #event(event) {
    const room = this.#rooms.get(event.room);
    if (event.type === "member_added" && event.user_id === this.#rooms.me.userId) this.reload();
    if (!room) return;
    if (typeof event.seq === "number" && event.type !== "read") return this.#numbered(room, event);
    if (event.type === "typing") {
      if (!this.#rooms.mine(event)) this.#rooms.tell("typing", { room, event });
    } else if (event.type === "read") {
      room.read(event.seq);
      this.#rooms.tell("list");
    } else if (event.type === "member_removed" && event.user_id === this.#rooms.me.userId) {
      this.#rooms.drop(room);
    } else if (event.type === "member_added" || event.type === "member_removed") {
      this.#rooms.tell("members", { room });
    } else if (event.type === "room_updated") {
      this.#rooms.retitle(room, event.title);
    } else if (event.type === "lagged" && event.reset) {
      this.#reset(room, event);
      this.reload();
    }
  }

  #numbered(room, event) {
    const mine = this.#rooms.mine(event);
    if (mine) this.#outbox.delivered(room, event);
    const isNew = room.take(event, mine);
    this.#rooms.tell("list");
    if (room !== this.#rooms.open || event.type !== "message") return;
    this.#rooms.tell("log");
    if (isNew && !mine) this.#rooms.tell("news", event);
  }
}
