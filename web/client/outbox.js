// Owns the messages of one room that were sent here and are not known to be stored: in order, each under one client_id for as
// long as its fate is unknown, sent again after a lost connection. Bounded by MOST.

import { backoff, pause } from "./connection.js";
import { ConnectionLost, HubError } from "./errors.js";

const MOST = 1_000;

const hex = (number, digits) => number.toString(16).padStart(digits, "0");
/** The time and 80 random bits, so that the ids of a room stand side by side in the database's index; crypto.randomUUID has no time in it, and
 * is not there on pages that came by plain http from other hosts than localhost. */
const newId = () => hex(Date.now(), 12) + [...crypto.getRandomValues(new Uint8Array(10))].map((byte) => hex(byte, 2)).join("");

export class Outbox {
  #isOpen;
  #deliver;
  #changed;
  #pumping = false;
  /** The one that is on its way: what becomes of it only its reply says. */
  #inFlight = null;
  /** Oldest first: {clientId, message, data, since, state: "sending" | "failed", error: what went wrong last}. */
  entries = [];

  /** `deliver(entry)`, while `isOpen()`, sends one and gives its ok, or throws; null where the way has closed. `changed()` hears of changes. */
  constructor({ isOpen, deliver, changed }) {
    this.#isOpen = isOpen;
    this.#deliver = deliver;
    this.#changed = changed;
  }

  /** Takes a message; the promise is kept when it is stored, broken when it can't be. */
  add(message, { data, clientId = newId() } = {}) {
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
    if (entry) this.#stored(entry, { seq, timestamp });
  }

  /** Gives one up: it is not sent, unless it is on its way already. */
  discard(clientId) {
    const given = this.entries.filter((entry) => entry.clientId === clientId);
    if (given.length) this.#end(given, new HubError({ code: "discarded", message: "the message was given up" }));
  }

  /** The room is left: nothing more will be sent. Gives what is known not to be stored. */
  end(error) {
    const unsent = this.entries.filter((entry) => entry !== this.#inFlight);
    this.#end(this.entries, error);
    return unsent;
  }

  #end(entries, error) {
    this.#set(this.entries.filter((entry) => !entries.includes(entry)));
    for (const entry of entries) if (entry !== this.#inFlight) entry.settle.reject(error);
  }

  #stored(entry, { seq, timestamp, repeat = false }) {
    if (this.entries.includes(entry)) this.#set(this.entries.filter((one) => one !== entry));
    entry.settle.resolve({ seq, timestamp, repeat, clientId: entry.clientId });
  }

  #set(entries) {
    this.entries = entries;
    this.#changed();
  }

  /** Sends what waits, one after the other so that a retry can't change the order. Called again on each join of the room. */
  async pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let tried = 0, entry; this.#isOpen() && (entry = this.entries.find(({ state }) => state === "sending")); ) {
      const wait = await this.#send(entry, tried);
      if (wait === null) break;
      tried = wait ? tried + 1 : 0;
      if (wait) await pause(wait);
    }
    this.#pumping = false;
  }

  /** Sends one; gives the milliseconds to wait before the next try, null where there is no way at present. */
  async #send(entry, tried) {
    this.#inFlight = entry;
    try {
      const ok = await this.#deliver(entry);
      if (ok) this.#stored(entry, ok);
      // Left meanwhile, and no reply will come: it was stored, or not.
      else if (!this.entries.includes(entry)) entry.settle.reject(new ConnectionLost());
      return ok ? 0 : null;
    } catch (error) {
      const again = error.retryable && this.entries.includes(entry);
      Object.assign(entry, { error, state: again ? "sending" : "failed" });
      this.#set([...this.entries]);
      if (!again) entry.settle.reject(error);
      return again ? error.retryAfterMs || backoff(tried) : 0;
    } finally {
      this.#inFlight = null;
    }
  }
}
