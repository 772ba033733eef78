// Owns the one WebSocket: opening it, showing the token, commands and their replies, noticing that it is dead, coming back. What
// the events mean is not its business. Emits "state", "hello", "event" (a frame that is no reply), "down" (no socket any more).

import { Emitter } from "./emitter.js";
import { ConnectionLost, HubError, SignedOut } from "./errors.js";

const FIRST_MS = 500;
const MOST_MS = 30_000;
const TOKEN_MS = 30_000;
const HELLO_MS = 15_000;
const REPLY_MS = 20_000;
const SILENCE_MS = 60_000;
const SETTLED_MS = 5_000;

/** Waits, but keeps no process of Node's alive that has nothing else to do. */
export const pause = (ms) => new Promise((done) => setTimeout(done, ms)?.unref?.());

/** A wait that doubles with each try, with jitter: many clients that lost one hub must not come back at once. */
export const backoff = (tried) => Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(tried, 10)) * (0.25 + 0.75 * Math.random());

/** The token that an app's function promised: an error where there is none, or where it takes too long. */
export async function inTime(promised) {
  const late = pause(TOKEN_MS).then(() => {
    throw new HubError({ code: "timeout", message: "no token in time", retryable: true });
  });
  const token = await Promise.race([promised, late]);
  if (!token) throw new SignedOut();
  return token;
}

/** docs/protocol.md: 45xx and some of RFC 6455 say that coming back would not help. */
const isFinal = (code) => (code >= 4500 && code <= 4599) || [1002, 1003, 1007, 1008, 1009].includes(code);

export class Connection extends Emitter {
  #address;
  #token;
  #WebSocket;
  #socket = null;
  #opening = 0;
  #waiting = new Map();
  #nextId = 1;
  #attempt = 0;
  #renew = false;
  #refused = false;
  #bye = null;
  #heard = 0;
  #since = 0;
  #retry = null;
  #watch = null;
  hello = null;
  state = { name: "offline" };

  constructor(address, token, WebSocket) {
    super();
    this.#address = address;
    this.#token = token;
    this.#WebSocket = WebSocket;
  }

  get up() {
    return this.state.name === "up";
  }

  start() {
    if (this.#watch !== null) return;
    this.#attempt = 0;
    this.#refused = this.#renew = false;
    this.#watch = setInterval(() => this.#look(), 5_000);
    globalThis.addEventListener?.("online", this.hurry);
    globalThis.document?.addEventListener("visibilitychange", this.hurry);
    this.#open();
  }

  /** Closes for good, or until the next start. */
  stop(state = { name: "closed", code: 1000, reason: "closed here" }) {
    clearInterval(this.#watch);
    clearTimeout(this.#retry);
    this.#watch = this.#retry = null;
    this.#opening += 1;
    globalThis.removeEventListener?.("online", this.hurry);
    globalThis.document?.removeEventListener("visibilitychange", this.hurry);
    this.#drop(1000);
    this.#enter(state);
  }

  /** The network is back or someone looks at the page: no reason to wait on, unless the hub asked for it. */
  hurry = () => {
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.#retry !== null && !this.state.asked) this.#open();
  };

  /** Sends a command and gives its reply; throws HubError for an error, ConnectionLost where none came. */
  request(command) {
    if (!this.up) return Promise.reject(new ConnectionLost());
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const text = JSON.stringify({ ...command, id });
      // The hub would close the socket for good.
      if (new TextEncoder().encode(text).length > this.hello.limits.frame_bytes) {
        throw new HubError({ code: "too_long", message: "this is longer than a frame may be" });
      }
      const timer = setTimeout(() => this.#lost(this.#socket, 1006), REPLY_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket.send(text);
    });
  }

  #enter(state) {
    this.state = state;
    this.emit("state", state);
  }

  async #open() {
    clearTimeout(this.#retry);
    this.#retry = null;
    const opening = (this.#opening += 1);
    this.#enter({ name: "connecting" });
    let token;
    try {
      token = await inTime(this.#token({ renew: this.#renew }));
    } catch (error) {
      if (opening !== this.#opening) return;
      if (error instanceof SignedOut) this.stop({ name: "closed", code: 4500, reason: "signed_out" });
      else this.#comeBack({ afterMs: error?.retryAfterMs });
      return;
    }
    if (opening !== this.#opening) return;
    this.#renew = false;
    this.#bye = null;
    let socket;
    try {
      socket = new this.#WebSocket(this.#address, "hubbub.v1");
    } catch (error) {
      // None in this Node, or one that the browser forbids (from an https page to ws:).
      this.stop({ name: "closed", code: 1006, reason: error.message });
      return;
    }
    this.#socket = socket;
    this.#heard = Date.now();
    const slow = setTimeout(() => this.#lost(socket, 1006), HELLO_MS);
    socket.onopen = () => socket.send(JSON.stringify({ type: "auth", token }));
    socket.onmessage = ({ data }) => this.#socket === socket && this.#frame(data, slow);
    socket.onerror = () => {}; // Its close follows, and says more.
    socket.onclose = ({ code, reason }) => {
      clearTimeout(slow);
      this.#lost(socket, code, reason);
    };
  }

  #frame(text, slow) {
    this.#heard = Date.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    const waiting = frame.id === undefined ? undefined : this.#waiting.get(frame.id);
    if (waiting) {
      this.#waiting.delete(frame.id);
      clearTimeout(waiting.timer);
      if (frame.type === "error") waiting.reject(new HubError(frame));
      else waiting.resolve(frame);
    } else if (frame.type === "hello") {
      clearTimeout(slow);
      // What waits to be sent is somebody else's.
      if (this.hello && this.hello.user_id !== frame.user_id) return this.stop({ name: "closed", code: 4500, reason: "user_changed" });
      this.hello = frame;
      this.#since = Date.now();
      this.#refused = false;
      this.#enter({ name: "up" });
      this.emit("hello", frame);
    } else if (frame.type === "ping") {
      this.#socket.send('{"type":"pong"}');
    } else if (frame.type === "token_expiring") {
      this.#bringNewToken();
    } else if (frame.type === "bye") {
      this.#bye = frame;
    } else {
      this.emit("event", frame);
    }
  }

  /** The session goes on with a new token, where one can be had; else the hub closes it when the old one has ended. */
  async #bringNewToken() {
    try {
      await this.request({ type: "refresh", token: await inTime(this.#token({ renew: true })) });
    } catch {
      // What follows is the close with 4001, which is handled where it comes.
    }
  }

  /** The socket is gone, or is given up: a half-open one would take minutes to say so. */
  #lost(socket, code, reason = "") {
    if (this.#socket !== socket || socket === null) return;
    const settled = this.up && Date.now() - this.#since > SETTLED_MS;
    if (settled) this.#attempt = 0;
    this.#drop(code);
    const final = isFinal(code) || this.#bye?.reconnect === false;
    if (code === 4001 || (code === 4500 && !this.#refused)) {
      // A token's end is no failure: get another and go on. One refused at once may only have ended while we slept.
      this.#refused = code === 4500;
      this.#renew = true;
      this.#comeBack({ afterMs: settled ? 1 + Math.random() * 300 : 0 });
    } else if (final) {
      this.stop({ name: "closed", code, reason: this.#bye?.reason || reason });
    } else {
      this.#comeBack({ afterMs: this.#bye?.after_ms, asked: Boolean(this.#bye?.after_ms) });
    }
  }

  /** Lets go of the socket; whoever waits for a reply is told. */
  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(code === 1000 ? 1000 : undefined);
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    this.state = { name: "offline" };
    for (const { reject, timer } of waiting) {
      clearTimeout(timer);
      reject(new ConnectionLost());
    }
    if (socket) this.emit("down");
  }

  /** Opens again: after as long as is said (`asked`, where the hub says it), else after a while that grows. */
  #comeBack({ afterMs, asked = false }) {
    const wait = afterMs || backoff(this.#attempt);
    this.#attempt += 1;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), wait);
    this.#enter({ name: "offline", retryAt: Date.now() + wait, asked });
  }

  /** The hub pings every 25 s; a minute of silence means that nobody is there. */
  #look() {
    if (this.up && Date.now() - this.#heard > SILENCE_MS) this.#lost(this.#socket, 1006);
  }
}
