// Owns the messages that were written here and have no ok yet: in order per room, each under one client_id until its fate is
// known, sent again after a lost connection. Emits "change" (a room), "sent" (room, message), "not-joined" (a room).

import { ApiError } from "./http.js";
import { ConnectionLost, insist } from "./socket.js";
import { errorText } from "./texts.js";

/** A random UUID; plain-http pages of other hosts than localhost have no crypto.randomUUID. */
function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

export class Outbox extends EventTarget {
  #connection;
  /** Room name to its entries, oldest first: {clientId, text, since, state: "pending" | "failed", why}. */
  #entries = new Map();
  #pumping = new Set();

  constructor(connection) {
    super();
    this.#connection = connection;
  }

  of(room) {
    return this.#entries.get(room.name) ?? [];
  }

  add(room, text) {
    this.#set(room, [...this.of(room), { clientId: uuid(), text, since: new Date().toISOString(), state: "pending", why: "" }]);
    this.pump(room);
  }

  /** Sends a failed one again, as the newest. */
  retry(room, entry) {
    const again = { ...entry, since: new Date().toISOString(), state: "pending", why: "" };
    this.#set(room, [...this.of(room).filter((other) => other !== entry), again]);
    this.pump(room);
  }

  discard(room, clientId) {
    const rest = this.of(room).filter((entry) => entry.clientId !== clientId);
    if (rest.length !== this.of(room).length) this.#set(room, rest);
  }

  clear(room) {
    this.#entries.delete(room.name);
  }

  /** The event of a message of one's own came, perhaps before its ok. */
  delivered(room, event) {
    if (event.client_id) this.discard(room, event.client_id);
  }

  #set(room, entries) {
    if (entries.length) this.#entries.set(room.name, entries);
    else this.#entries.delete(room.name);
    this.dispatchEvent(new CustomEvent("change", { detail: room }));
  }

  /** Sends what waits, one after the other so that a retry can't change the order. Called again on each join of the room. */
  async pump(room) {
    if (this.#pumping.has(room.name)) return;
    this.#pumping.add(room.name);
    try {
      for (let entry; (entry = this.#next(room)); ) await this.#send(room, entry);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error;
    } finally {
      this.#pumping.delete(room.name);
    }
  }

  #next(room) {
    if (!room.joined || !this.#connection.online) return undefined;
    return this.of(room).find((entry) => entry.state === "pending");
  }

  async #send(room, { clientId, text }) {
    try {
      const command = { type: "send", room: room.name, message: text, client_id: clientId };
      const { seq, timestamp } = await insist(this.#connection, command);
      const message = { type: "message", room: room.name, seq, timestamp, message: text, client_id: clientId };
      this.dispatchEvent(new CustomEvent("sent", { detail: { room, message } }));
      this.discard(room, clientId);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.code === "not_joined") {
        room.joined = false;
        this.dispatchEvent(new CustomEvent("not-joined", { detail: room }));
        return;
      }
      const failed = (entry) => (entry.clientId === clientId ? { ...entry, state: "failed", why: errorText(error) } : entry);
      this.#set(room, this.of(room).map(failed));
    }
  }
}
