// Owns a room's messages as one reads them: pages of history and what comes live in one list, strictly by seq, none twice. Emits
// "change" (the list or its state) and "news" (a message that is new at its end).

import { Emitter } from "./emitter.js";

/** A page that could not be loaded is tried again. */
const RETRY_MS = 5_000;

export class Timeline extends Emitter {
  #room;
  #page;
  #ends;
  #oldest = Infinity;
  #loads = 0;
  #head = 0;
  /** After a reset and until the newest page has come: what comes live does not follow what is here. */
  #torn = false;
  #again = null;
  messages = [];
  /** loading, ready, older (an older page is on its way), failed. */
  state = "loading";
  /** Whether the hub has older ones. */
  more = false;

  /** `page` messages are loaded at once, 1 to 100. */
  constructor(room, { page = 50 } = {}) {
    super();
    this.#room = room;
    this.#page = page;
    this.#ends = [
      room.on("message", (message) => !this.#torn && this.#add(message) && this.#tell(message)),
      room.on("sent", (message) => this.#sent(message)),
      room.on("reset", () => {
        this.#torn = true;
        this.load();
      }),
      // What was written between the page and the first join comes with neither.
      room.on("joined", ({ first, head }) => (this.state === "failed" || (first && (this.state === "loading" || head > this.#head))) && this.load()),
    ];
    this.load();
  }

  /** Lets go of the room. */
  close() {
    this.#loads += 1;
    clearTimeout(this.#again);
    this.#ends.forEach((end) => end());
  }

  /** Loads the newest page, first or anew; what was here goes only when it has come. */
  async load() {
    const load = (this.#loads += 1);
    clearTimeout(this.#again);
    const arrived = new Set();
    const end = this.#room.on("message", (message) => arrived.add(message));
    this.#enter("loading");
    try {
      const page = await this.#room.history({ limit: this.#page });
      if (load !== this.#loads) return;
      this.#torn = false;
      this.messages = [];
      this.#oldest = Infinity;
      this.#head = page.head;
      this.#take(page);
      arrived.forEach((message) => this.#add(message));
      this.#enter("ready");
    } catch (error) {
      if (load !== this.#loads) return;
      // A room that its first message will make.
      if (error.code === "room_not_found" && this.#room.joined) return this.#enter("ready");
      this.#enter("failed");
      if (error.retryable) this.#again = setTimeout(() => this.load(), RETRY_MS);
    } finally {
      end();
    }
  }

  /** Loads the page before what is here; says whether that worked. */
  async older() {
    if (!this.more || this.state !== "ready") return true;
    const load = this.#loads;
    this.#enter("older");
    let worked = true;
    try {
      const page = await this.#room.history({ before: this.#oldest, limit: this.#page });
      if (load === this.#loads) this.#take(page);
    } catch {
      worked = false;
    }
    if (load === this.#loads) this.#enter("ready");
    return worked;
  }

  /** Forgets the oldest beyond `most`, so that a room that is open for days does not grow for ever. */
  trim(most) {
    if (this.messages.length <= most || this.state !== "ready") return;
    this.messages = this.messages.slice(-most);
    this.#oldest = this.messages[0].seq;
    this.more = true;
    this.emit("change");
  }

  #enter(state) {
    this.state = state;
    this.emit("change");
  }

  #tell(message) {
    this.emit("change");
    this.emit("news", message);
  }

  /** A message of one's own was stored: it is shown at once, its event may come later. */
  #sent(message) {
    if (this.#torn || (message.seq < this.#oldest && this.more)) return;
    if (this.#add({ type: "message", ...this.#author(), ...message })) this.emit("change");
  }

  #author() {
    const { user } = this.#room;
    return { user: user.name, user_id: user.id };
  }

  /** Adds one where it belongs; nearly all come at the end. Says whether it was new. */
  #add(message) {
    const { messages } = this;
    let at = messages.length;
    while (at > 0 && messages[at - 1].seq > message.seq) at -= 1;
    if (at > 0 && messages[at - 1].seq === message.seq) return false;
    messages.splice(at, 0, message);
    return true;
  }

  #take({ messages, more }) {
    const shown = messages.filter(({ type = "message" }) => type === "message");
    // What is older than all that is here goes in front as one: history is ten thousands long.
    const first = this.messages[0]?.seq ?? Infinity;
    this.messages = [...shown.filter(({ seq }) => seq < first), ...this.messages];
    shown.filter(({ seq }) => seq >= first).forEach((message) => this.#add(message));
    if (messages.length) this.#oldest = Math.min(this.#oldest, messages[0].seq);
    this.more = Boolean(more) && messages.length > 0;
  }
}
