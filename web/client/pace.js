// Owns the pace at which all rooms of a client send: a few at once and, once the hub has found them too fast, one after the other
// at the rate that it allows. Each room by itself would ask again and again, and hundreds of refusals in a row end the session.

import { pause } from "./connection.js";

const AT_ONCE = 8;
/** So long after a refusal the pace is slow. */
const SLOW_MS = 5_000;

export class Pace {
  #perSecond;
  #running = 0;
  #waiting = [];
  /** When the next one may go, and until when they go one by one. */
  #from = 0;
  #slowUntil = 0;

  /** `perSecond()` is the hub's rate. */
  constructor(perSecond) {
    this.#perSecond = perSecond;
  }

  /** Does `work` when it is its turn. */
  async run(work) {
    if (this.#running >= AT_ONCE) await new Promise((turn) => this.#waiting.push(turn));
    else this.#running += 1;
    try {
      const now = Date.now();
      const due = Math.max(now, this.#from);
      if (now < this.#slowUntil) this.#from = due + 1_000 / this.#perSecond();
      if (due > now) await pause(due - now);
      return await work();
    } catch (error) {
      if (error.code === "rate_limited") {
        this.#slowUntil = Date.now() + SLOW_MS;
        this.#from = Math.max(this.#from, Date.now() + (error.retryAfterMs || 1_000));
      }
      throw error;
    } finally {
      // The place goes to whoever waits longest.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }
}
