// Owns the messages of one room that are loaded: strictly by seq, none twice, and how far back they reach.

export class RoomLog {
  messages = [];
  /** idle, loading, ready or failed: where the newest page is. */
  state = "idle";
  /** Whether the hub has older ones. */
  more = false;
  #oldest = Infinity;

  get newestSeq() {
    return this.messages.at(-1)?.seq ?? 0;
  }

  /** The cursor for the page before. A page may hold events that are not shown, so this is not the first message's seq. */
  get before() {
    return this.#oldest;
  }

  /** Adds one message where it belongs; most come at the end. Says whether it was new. */
  add(message) {
    let at = this.messages.length;
    while (at > 0 && this.messages[at - 1].seq > message.seq) at -= 1;
    if (at > 0 && this.messages[at - 1].seq === message.seq) return false;
    this.messages.splice(at, 0, message);
    return true;
  }

  /** Adds a page of history: the newest, or the one before what is here. */
  addPage({ messages, more }) {
    for (const event of messages) if (event.type === undefined || event.type === "message") this.add(event);
    if (messages.length) this.#oldest = Math.min(this.#oldest, messages[0].seq);
    this.more = Boolean(more) && messages.length > 0;
  }

  /** Forgets the oldest beyond `most`, so that a room that is open for days does not grow for ever. */
  trim(most) {
    if (this.messages.length <= most) return;
    this.messages.splice(0, this.messages.length - most);
    this.#oldest = this.messages[0].seq;
    this.more = true;
  }
}
