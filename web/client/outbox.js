// Owns the messages of one room that were sent here and are not known to be stored: in order, each under one client_id for as
// long as its fate is unknown, sent again after a lost connection. Bounded by MOST.

import { backoff } from "./connection.js";
import { HubError } from "./errors.js";
import { sleep } from "./http.js";

const MOST = 1_000;

/** A random UUID; pages of other hosts than localhost that came by plain http have no crypto.randomUUID. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

export class Outbox {
  #deliver;
  #changed;
  #pumping = false;
  /** Oldest first: {clientId, message, data, since, state: "sending" | "failed", error: what went wrong last}. */
  entries = [];

  /** `deliver(command)` sends one and gives its ok, or throws; null where there is no way at present. `changed()` hears of changes. */
  constructor(deliver, changed) {
    this.#deliver = deliver;
    this.#changed = changed;
  }

  /** Takes a message; the promise is kept when it is stored, broken when it can't be. */
  add(message, { data, clientId = uuid() } = {}) {
    if (this.entries.length >= MOST) {
      return Promise.reject(new HubError({ code: "busy", message: "too many messages wait to be sent", retryable: true }));
    }
    const entry = { clientId, message, data, since: new Date().toISOString(), state: "sending", error: null };
    const fate = new Promise((resolve, reject) => Object.defineProperty(entry, "settle", { value: { resolve, reject } }));
    this.#set([...this.entries, entry]);
    this.pump();
    return fate;
  }

  /** Sends a failed one again, as the newest: the same message, so never twice. */
  retry(clientId) {
    const entry = this.entries.find((one) => one.clientId === clientId && one.state === "failed");
    if (!entry) return;
    Object.assign(entry, { state: "sending", error: null, since: new Date().toISOString() });
    this.#set([...this.entries.filter((one) => one !== entry), entry]);
    this.pump();
  }

  /** The event of a message of one's own came, perhaps before its ok, or in place of one that was lost. */
  delivered({ client_id, seq, timestamp }) {
    const entry = client_id && this.entries.find(({ clientId }) => clientId === client_id);
    if (!entry) return;
    this.#stored(entry, { seq, timestamp });
  }

  /** Gives up a failed one. */
  discard(clientId) {
    const rest = this.entries.filter((entry) => entry.clientId !== clientId);
    if (rest.length !== this.entries.length) this.#set(rest);
  }

  #stored(entry, { seq, timestamp, repeat = false }) {
    if (this.entries.includes(entry)) this.#set(this.entries.filter((one) => one !== entry));
    entry.settle.resolve({ seq, timestamp, repeat, clientId: entry.clientId });
  }

  /** The room is left: nothing more will be sent. */
  end(error) {
    for (const { settle } of this.entries) settle.reject(error);
    this.#set([]);
  }

  #set(entries) {
    this.entries = entries;
    this.#changed();
  }

  /** Sends what waits, one after the other so that a retry can't change the order. Called again on each join of the room. */
  async pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let tried = 0, entry; (entry = this.entries.find(({ state }) => state === "sending")); ) {
      try {
        const ok = await this.#deliver(entry);
        if (ok === null) break;
        tried = 0;
        this.#stored(entry, ok);
      } catch (error) {
        if (error.retryable) {
          Object.assign(entry, { error });
          this.#set([...this.entries]);
          await sleep(error.retryAfterMs || backoff(tried++));
        } else {
          Object.assign(entry, { state: "failed", error });
          this.#set([...this.entries]);
          entry.settle.reject(error);
        }
      }
    }
    this.#pumping = false;
  }
}
