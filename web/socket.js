// Owns the one WebSocket: opening it, showing the token, commands and their replies, noticing that it is dead, coming back.
// What the events mean is not its business. It emits: "state" (online, connecting, offline), "open" (hello came), "event" (a
// frame that is no reply), "ended" (the session is no longer good).

import { ApiError, sleep } from "./http.js";
import { SignedOut } from "./session.js";
import { closeText } from "./texts.js";

const FIRST_MS = 500;
const MOST_MS = 30_000;
const HELLO_MS = 15_000;
const REPLY_MS = 20_000;
const SILENCE_MS = 60_000;
const SETTLED_MS = 5_000;

/** The connection went before the reply came; the command may have been carried out or not. */
export class ConnectionLost extends Error {}

const staysAway = (code) => (code >= 4500 && code <= 4599) || [1002, 1003, 1007, 1008, 1009].includes(code);

export class Connection extends EventTarget {
  #session;
  #socket = null;
  #waiting = new Map();
  #nextId = 1;
  #attempt = 0;
  #renew = false;
  #refused = 0;
  #bye = null;
  #heard = 0;
  #opened = 0;
  #retry = null;
  #hello = null;
  state = { name: "connecting" };

  constructor(session) {
    super();
    this.#session = session;
    setInterval(() => this.#watch(), 5_000);
    window.addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#retryNow());
  }

  get online() {
    return this.state.name === "online";
  }

  get hello() {
    return this.#hello;
  }

  start() {
    this.#open();
  }

  /** Sends a command and gives its ok; throws ApiError for an error, ConnectionLost where no answer came. */
  request(command) {
    if (!this.online) return Promise.reject(new ConnectionLost());
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#lost(this.#socket, 1006), REPLY_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket.send(JSON.stringify({ ...command, id }));
    });
  }

  /** Sends a command whose answer does not matter. */
  notify(command) {
    this.request(command).catch(() => {});
  }

  #enter(name, detail = {}) {
    this.state = { name, ...detail };
    this.dispatchEvent(new CustomEvent("state", { detail: this.state }));
  }

  async #open() {
    clearTimeout(this.#retry);
    this.#retry = null;
    this.#enter("connecting");
    let token;
    try {
      token = await this.#session.access({ renew: this.#renew });
    } catch (error) {
      if (error instanceof SignedOut) this.dispatchEvent(new CustomEvent("ended", { detail: error.message }));
      else this.#comeBack(error.retryAfterMs);
      return;
    }
    this.#renew = false;
    this.#bye = null;
    const address = new URL("/ws", window.location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address.href, "hubbub.v1");
    this.#socket = socket;
    this.#heard = Date.now();
    const hurry = setTimeout(() => !this.online && this.#lost(socket, 1006), HELLO_MS);
    socket.onopen = () => socket.send(JSON.stringify({ type: "auth", token }));
    socket.onmessage = ({ data }) => this.#socket === socket && this.#frame(data);
    socket.onclose = ({ code, reason }) => {
      clearTimeout(hurry);
      this.#lost(socket, code, reason);
    };
  }

  #frame(text) {
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
      if (frame.type === "error") waiting.reject(new ApiError(frame));
      else waiting.resolve(frame);
    } else if (frame.type === "hello") {
      this.#hello = frame;
      this.#opened = Date.now();
      this.#refused = 0;
      this.#enter("online");
      this.dispatchEvent(new CustomEvent("open", { detail: frame }));
    } else if (frame.type === "ping") {
      this.#socket.send('{"type":"pong"}');
    } else if (frame.type === "token_expiring") {
      this.#bringNewToken();
    } else if (frame.type === "bye") {
      this.#bye = frame;
    } else {
      this.dispatchEvent(new CustomEvent("event", { detail: frame }));
    }
  }

  /** The session goes on with a new token, where one can be had; else the hub closes when the old one has ended. */
  async #bringNewToken() {
    try {
      const token = await this.#session.access({ renew: true });
      await this.request({ type: "refresh", token });
    } catch {
      // What follows is the close with 4001, which is handled where it comes.
    }
  }

  /** The socket is gone, or is given up: a half-open one would take minutes to say so. */
  #lost(socket, code, reason = "") {
    if (this.#socket !== socket || socket === null) return;
    const settled = this.online && Date.now() - this.#opened > SETTLED_MS;
    this.#socket = null;
    socket.close();
    if (settled) this.#attempt = 0;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject, timer } of waiting) {
      clearTimeout(timer);
      reject(new ConnectionLost());
    }
    if (code === 4001 || (code === 4500 && this.#refused++ === 0)) {
      // The token's end is no failure: get another and go on. A token refused at once may only be one that ended in our sleep.
      this.#renew = true;
      this.#comeBack(settled ? 1 + Math.random() * 300 : undefined);
    } else if (code === 4500) {
      this.dispatchEvent(new CustomEvent("ended", { detail: "The hub does not accept your token. Please sign in again." }));
    } else if (staysAway(code) || this.#bye?.reconnect === false) {
      this.#enter("offline", { why: closeText(code, reason) });
    } else {
      this.#comeBack(this.#bye?.after_ms);
    }
  }

  /** Opens again after a while: as long as the hub asked for, else exponential backoff with full jitter. */
  #comeBack(afterMs) {
    const ceiling = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(this.#attempt, 10));
    this.#attempt += 1;
    const wait = afterMs || Math.random() * ceiling;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), wait);
    this.#enter("offline", { until: Date.now() + wait, asked: Boolean(afterMs) });
  }

  /** The network is back or someone looks at the page: no reason to wait on, unless the hub asked for it. */
  #retryNow() {
    if (this.#retry !== null && !this.state.asked && this.state.until - Date.now() > 1000) this.#open();
  }

  /** The hub pings every 25 s; a minute of silence means that nobody is there. */
  #watch() {
    if (this.online && Date.now() - this.#heard > SILENCE_MS) this.#lost(this.#socket, 1006);
  }
}

/** Carries a command out once it works: waits and tries again where the hub says so; other errors and lost connections are thrown. */
export async function insist(connection, command) {
  for (let tried = 0; ; tried += 1) {
    try {
      return await connection.request(command);
    } catch (error) {
      if (!(error instanceof ApiError) || !error.retryable) throw error;
      await sleep(error.retryAfterMs || Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(tried, 6)) * (0.5 + Math.random() / 2));
    }
  }
}
