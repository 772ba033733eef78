// Owns the history of the open room as it is seen: the list of messages, scrolling, loading older ones, the pending ones at its end.

import { action, announce, byId, coalesced, el, keyed, notice, say, show } from "./dom.js";
import { bodyText, dayText, fullTimeText, timeText } from "./texts.js";

const NEAR_PX = 48;
const OLDER_PX = 300;
const TOGETHER_MS = 5 * 60_000;
const TONES = 8;

export class Messages {
  #rooms;
  #outbox;
  #frame = byId("history");
  #list = byId("messages");
  /** Whether the view follows the newest message. */
  #follows = true;
  #missed = 0;
  /** The log whose older page failed: not asked for again by scrolling alone. */
  #failedLog = null;
  #seen = () => {};

  constructor(rooms, outbox) {
    this.#rooms = rooms;
    this.#outbox = outbox;
    const draw = coalesced(() => this.#draw());
    rooms.addEventListener("log", draw);
    outbox.addEventListener("change", draw);
    rooms.addEventListener("open", () => this.toNewest());
    rooms.addEventListener("open", draw);
    rooms.addEventListener("news", ({ detail }) => this.#news(detail));
    this.#frame.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    action("older").addEventListener("click", () => this.#older());
    byId("jump").addEventListener("click", () => {
      this.toNewest();
      byId("composer").focus();
    });
    const stay = new ResizeObserver(() => this.#follows && this.#toEnd());
    stay.observe(this.#frame);
    stay.observe(this.#list);
  }

  /** Calls `seen` whenever the newest message may have come into view. */
  onSeen(seen) {
    this.#seen = seen;
  }

  get newestInView() {
    return this.#follows;
  }

  toNewest() {
    this.#follows = true;
    this.#missed = 0;
    this.#toEnd();
    this.#jump();
    this.#seen();
  }

  #toEnd() {
    this.#frame.scrollTop = this.#frame.scrollHeight;
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#frame;
    const follows = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    if (follows && !this.#follows) this.#missed = 0;
    this.#follows = follows;
    this.#jump();
    this.#seen();
    if (scrollTop < OLDER_PX) this.#older(true);
  }

  /** By itself on scrolling up, or by the button, which stays for those that do not scroll. */
  async #older(quietly = false) {
    const room = this.#rooms.open;
    if (!room?.log?.more || room.log.state !== "ready") return;
    if (quietly && this.#failedLog === room.log) return;
    const worked = await this.#rooms.loadOlder(room);
    this.#failedLog = worked ? null : room.log;
    if (!worked) notice("Older messages could not be loaded. Please try again.");
  }

  #news(event) {
    announce(`${event.user}: ${bodyText(event).slice(0, 300)}`);
    if (!this.#follows) this.#missed += 1;
    this.#jump();
  }

  #jump() {
    const text = this.#missed ? `${this.#missed} new, jump to the newest` : "Jump to the newest";
    say(byId("jump"), this.#follows ? "" : text);
  }

  #draw() {
    const room = this.#rooms.open;
    const log = room?.log;
    if (this.#follows && room) this.#rooms.trim(room);
    const pending = room ? this.#outbox.of(room).map((entry) => this.#pending(entry)) : [];
    const items = [...(log?.messages ?? []), ...pending];
    const still = this.#follows ? null : this.#firstInView();
    keyed(this.#list, items, (item) => `${room.name} ${item.seq ?? item.clientId}`, (...given) => this.#item(room, ...given));
    this.#state(log, items.length);
    if (this.#follows) this.#toEnd();
    else if (still?.node.isConnected) this.#frame.scrollTop += still.node.getBoundingClientRect().top - still.top;
    // A page that does not fill the view can't be scrolled.
    if (log?.state === "ready" && this.#frame.scrollHeight <= this.#frame.clientHeight) this.#older(true);
    this.#seen();
  }

  #pending(entry) {
    return { ...entry, message: entry.text, timestamp: entry.since, user: this.#rooms.me.user, user_id: this.#rooms.me.userId };
  }

  #state(log, count) {
    const texts = { loading: "Loading messages…", failed: "The messages could not be loaded.", older: "Loading older messages…" };
    const text = texts[log?.state] ?? (log && count === 0 ? "No messages yet. Write the first one." : "");
    byId("history-state").replaceChildren(text);
    if (log?.state === "failed") {
      const retry = () => this.#rooms.open && this.#rooms.loadNewest(this.#rooms.open);
      byId("history-state").append(" ", el("button", { type: "button", onclick: retry }, "Try again"));
    }
    show(byId("history-state"), Boolean(text));
    show(action("older"), Boolean(log?.more) && log.state === "ready");
  }

  #firstInView() {
    const top = this.#frame.getBoundingClientRect().top;
    for (const node of this.#list.children) {
      const box = node.getBoundingClientRect();
      if (box.bottom > top) return { node, top: box.top };
    }
    return null;
  }

  #item(room, item, node, previous) {
    const state = `${item.state ?? "stored"} ${item.why ?? ""}`;
    const made = node?.dataset.state === state ? node : this.#newItem(room, item, state);
    const sameDay = previous && dayText(previous.timestamp) === dayText(item.timestamp);
    const together = sameDay && previous.user_id === item.user_id && previous.user === item.user
      && Date.parse(item.timestamp) - Date.parse(previous.timestamp) < TOGETHER_MS;
    made.classList.toggle("together", Boolean(together));
    say(made.querySelector(".day"), sameDay ? "" : dayText(item.timestamp));
    return made;
  }

  #newItem(room, item, state) {
    const mine = this.#rooms.mine(item);
    const name = item.seq === undefined ? { "data-client-id": item.clientId } : { "data-seq": item.seq };
    const text = bodyText(item);
    return el("li", { ...name, "data-state": state, class: `message ${mine ? "mine" : ""} ${item.state ?? ""}` },
      el("p", { class: "day", hidden: true }),
      el("span", { class: `avatar tone-${tone(item.user_id)}`, "aria-hidden": "true" }, [...item.user][0]?.toUpperCase() ?? "?"),
      el("div", { class: "byline" },
        el("span", { class: "author", dir: "auto" }, item.user),
        el("time", { class: "muted small", datetime: item.timestamp, title: fullTimeText(item.timestamp) }, timeText(item.timestamp))),
      el("p", { class: item.message ? "text" : "text muted", dir: "auto" }, text),
      item.state && this.#fate(room, item));
  }

  #fate(room, item) {
    if (item.state === "pending") return el("p", { class: "fate muted small" }, "Sending…");
    const entry = () => this.#outbox.of(room).find(({ clientId }) => clientId === item.clientId);
    return el("p", { class: "fate error small" }, `Not sent. ${item.why} `,
      el("button", { type: "button", class: "quiet", "data-action": "retry", onclick: () => this.#outbox.retry(room, entry()) }, "Try again"),
      el("button", { type: "button", class: "quiet", onclick: () => this.#outbox.discard(room, item.clientId) }, "Discard"));
  }
}

/** One of a few colours for a user, always the same. */
function tone(userId) {
  let sum = 0;
  for (const char of String(userId)) sum = (sum * 31 + char.codePointAt(0)) % 9973;
  return sum % TONES;
}
