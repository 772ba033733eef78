// Owns the client as apps see it: one connection, the rooms on it, and calls of the API as the user. After each reconnect every
// wanted room is joined from its cursor, in portions that the hub's rate allows. Everything that people import is exported here.

import { Connection, backoff, inTime, pause } from "./connection.js";
import { Emitter } from "./emitter.js";
import { ConnectionLost, HubError, SignedOut } from "./errors.js";
import { call, path } from "./http.js";
import { Pace } from "./pace.js";
import { Room } from "./room.js";

export { Accounts } from "./accounts.js";
export { Room };
export { Timeline } from "./timeline.js";
export { ConnectionLost, HubError, SignedOut, path };

/** Each room of a resume counts as a command: 20 a second, 60 at once. */
const AT_ONCE = 20;
const PAUSE_MS = 1_100;

export class Hubbub extends Emitter {
  #address;
  #token;
  #fetch;
  #connection;
  #rooms = new Map();
  #joining = false;
  #sockets = 0;
  #pace = new Pace(() => this.limits?.commands_per_second ?? 20);
  /** The room that is joined first after a reconnect. */
  focus = null;
  /** {name: "connecting" | "catching_up" | "live" | "offline" | "closed", retryAt?, code?, reason?} */
  state = { name: "offline" };

  /**
   * A client of the hub at `address` (https://chat.example.com). `token` is an access token or a function that gives one, called
   * with {renew: true} where the last one was refused or has ended; without a token (null, or SignedOut thrown) the client closes.
   */
  constructor(address, { token, WebSocket = globalThis.WebSocket, fetch } = {}) {
    super();
    this.#address = address.replace(/\/+$/, "");
    this.#fetch = fetch;
    this.#token = typeof token === "function" ? token : ({ renew }) => (renew ? null : token);
    const connection = new Connection(`${this.#address.replace(/^http/, "ws")}/ws`, (how) => this.#token(how), WebSocket);
    connection.on("state", () => this.judge());
    connection.on("down", () => this.#rooms.forEach((room) => room.down()));
    connection.on("hello", (hello) => {
      this.#sockets += 1;
      this.emit("hello", hello);
      this.joinWanted();
    });
    connection.on("event", (frame) => this.#event(frame));
    this.#connection = connection;
  }

  /** {id, name} of whoever's token it is, once the hub has said so. */
  get user() {
    const { hello } = this.#connection;
    return hello ? { id: hello.user_id, name: hello.user } : null;
  }

  get limits() {
    return this.#connection.hello?.limits ?? null;
  }

  connect() {
    this.#connection.start();
    return this;
  }

  /** Ends the connection, for good or until the next connect(). Rooms keep their cursors and what they have to send. */
  close() {
    this.#connection.stop();
  }

  /** Tries to connect now where it waits to. */
  retryNow() {
    this.#connection.hurry();
  }

  /** The room of that name: the same object each time. */
  room(name) {
    if (!this.#rooms.has(name)) this.#rooms.set(name, new Room(this, name));
    return this.#rooms.get(name);
  }

  /** Sends a room's message, at the pace of all. */
  send(command) {
    return this.#pace.run(() => this.request(command));
  }

  /** Sends a command of docs/protocol.md and gives its reply. */
  request(command) {
    return this.#connection.request(command);
  }

  /** A call of the HTTP API as the user; a token that is refused is renewed once. */
  async call(method, address, { query, body } = {}) {
    const once = async (renew) => {
      const token = await inTime(this.#token({ renew }));
      return call(method, this.#address + address, { query, body, token, fetch: this.#fetch });
    };
    try {
      return await once(false).catch((error) => {
        if (error.status !== 401) throw error;
        return once(true);
      });
    } catch (error) {
      if (error instanceof SignedOut) this.#connection.stop({ name: "closed", code: 4500, reason: "signed_out" });
      throw error;
    }
  }

  /** Works out the state from the connection's and the rooms', and tells where it is another. */
  judge() {
    let state = this.#connection.state;
    if (state.name === "up") state = { name: [...this.#rooms.values()].some((room) => room.catchingUp) ? "catching_up" : "live" };
    if (state.name === this.state.name && state.code === this.state.code && state.name !== "offline") return;
    this.state = state;
    this.emit("state", state);
  }

  #event(frame) {
    const room = this.#rooms.get(frame.room);
    room?.take(frame);
    this.emit(frame.type, frame);
  }

  /** Joins the rooms that are wanted and not joined, for as long as there are any. */
  async joinWanted() {
    this.judge();
    if (this.#joining || !this.#connection.up) return;
    this.#joining = true;
    const socket = this.#sockets;
    for (let tried = 0, rooms; (rooms = this.#due()).length && socket === this.#sockets && this.#connection.up; ) {
      let wait = rooms.length > AT_ONCE ? PAUSE_MS : 0;
      try {
        wait = Math.max(wait, await this.#portion(rooms.slice(0, AT_ONCE)));
        tried = 0;
      } catch (error) {
        // The next hello does it all again.
        if (error instanceof ConnectionLost) break;
        wait = error.retryAfterMs || backoff(tried++);
      }
      if (wait) await pause(wait);
    }
    this.#joining = false;
    this.judge();
    if (socket !== this.#sockets) this.joinWanted();
  }

  #due() {
    const due = [...this.#rooms.values()].filter((room) => room.wanted && !room.joined);
    return due.sort((a, b) => Number(b === this.focus) - Number(a === this.focus));
  }

  /** Joins these rooms: those with a cursor together, the others one by one. Gives the milliseconds that the hub asks to wait. */
  async #portion(rooms) {
    const asked = new Map(rooms.map((room) => [room, room.entering()]));
    const known = rooms.filter(({ cursor }) => cursor !== null);
    const named = Object.fromEntries(known.map(({ name, cursor, epoch }) => [name, { after: cursor, epoch }]));
    const one = async ({ name, cursor, epoch }) => {
      try {
        return [name, await this.request({ type: "join", room: name, ...(cursor === null ? {} : { after: cursor, epoch }) })];
      } catch (error) {
        if (!(error instanceof HubError)) throw error;
        return [name, { error }];
      }
    };
    const together = async () => {
      if (!known.length) return [];
      try {
        return Object.entries((await this.request({ type: "resume", rooms: named })).rooms);
      } catch (error) {
        // One of them is refused, and all with it: alone, each gets its own answer.
        if (!(error instanceof HubError) || error.retryable) throw error;
        return Promise.all(known.map(one));
      }
    };
    const fresh = rooms.filter(({ cursor }) => cursor === null).map(one);
    const all = new Map((await Promise.all([together(), Promise.all(fresh)])).flat());
    let wait = 0;
    for (const room of rooms) {
      const answer = all.get(room.name);
      if (!answer || !room.awaits(asked.get(room))) continue;
      if (!answer.error) room.entered(answer);
      else {
        const error = answer.error instanceof HubError ? answer.error : new HubError(answer.error);
        if (error.retryable) wait = Math.max(wait, error.retryAfterMs || 1_000);
        else room.refused(error);
      }
    }
    return wait;
  }
}
