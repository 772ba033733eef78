// Owns the history of the open room as it is seen: messages and what is being sent, scrolling, loading older ones, reading news out.

import { action, announce, byId, coalesced, el, notice, say, show } from "../shared/dom.js";
import { t, visible } from "../shared/language.js";
import { bodyText, messageNode } from "./message.js";
import { ListWindow } from "./window.js";

const OLDER_PX = 600;
const KEPT_MESSAGES = 500;
const ANNOUNCE_MS = 1_500;

export class History {
  #rooms;
  #frame = byId("history");
  #window;
  #unfolded = new Set();
  #missed = 0;
  /** The timeline whose older page failed: not asked for again by scrolling alone. */
  #failed = null;
  #seen = () => {};
  #unsaid = [];
  #saying = null;
  #ends = [];

  constructor(rooms) {
    this.#rooms = rooms;
    this.#window = new ListWindow(this.#frame, byId("messages"), [byId("before"), byId("after")], {
      key: (item) => item.seq ?? item.clientId,
      render: (item, node, previous) => this.#item(item, node, previous),
    });
    const draw = coalesced(() => this.#draw());
    rooms.on("open", () => {
      this.#ends.splice(0).forEach((end) => end());
      this.#unfolded.clear();
      this.#window.clear();
      this.#missed = 0;
      if (!rooms.open) return;
      this.#ends.push(rooms.open.timeline.on("change", draw), rooms.open.room.on("outbox", draw));
      this.#draw();
    });
    rooms.on("news", (message) => this.#news(message));
    this.#frame.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    action("older").addEventListener("click", () => this.#older());
    byId("jump").addEventListener("click", () => {
      this.toNewest();
      byId("composer").focus();
    });
  }

  /** Calls `seen` whenever the newest message may have come into view. */
  onSeen(seen) {
    this.#seen = seen;
  }

  get newestInView() {
    return this.#window.follows;
  }

  toNewest() {
    this.#missed = 0;
    this.#window.toEnd();
    this.#jump();
    this.#seen();
  }

  #scrolled() {
    if (this.#window.scrolled()) this.#missed = 0;
    this.#jump();
    this.#seen();
    if (this.#frame.scrollTop < OLDER_PX) this.#older(true);
  }

  /** By itself on scrolling up, or by the button, which stays for those that do not scroll. */
  async #older(quietly = false) {
    const timeline = this.#rooms.open?.timeline;
    if (!timeline?.more || timeline.state !== "ready" || (quietly && this.#failed === timeline)) return;
    const worked = await timeline.older();
    this.#failed = worked ? null : timeline;
    if (!worked) notice(t("older-failed"));
  }

  #news(message) {
    this.#unsaid.push(message);
    this.#saying ??= setTimeout(() => this.#say(), 200);
    if (!this.#window.follows) this.#missed += 1;
    this.#jump();
  }

  /** Screen readers are told each message, or, where many come, how many. */
  #say() {
    const unsaid = this.#unsaid.splice(0);
    if (unsaid.length > 3) announce(t("many-new", unsaid.length));
    else announce(unsaid.map((message) => `${visible(message.user, message.user_id)}: ${bodyText(message).slice(0, 300)}`).join("\n"));
    this.#saying = setTimeout(() => {
      this.#saying = null;
      if (this.#unsaid.length) this.#say();
    }, ANNOUNCE_MS);
  }

  #jump() {
    say(byId("jump"), this.#window.follows ? "" : this.#missed ? t("jump-new", this.#missed) : t("jump"));
  }

  #draw() {
    const entry = this.#rooms.open;
    const timeline = entry?.timeline;
    if (!timeline) return;
    if (this.#window.follows && timeline.messages.length > KEPT_MESSAGES + 100) timeline.trim(KEPT_MESSAGES);
    const me = this.#rooms.hub.user;
    const pending = entry.room.outbox.map((one) => ({ ...one, timestamp: one.since, user: me.name, user_id: me.id }));
    const items = [...timeline.messages, ...pending];
    this.#window.show(items);
    this.#state(timeline, items.length);
    // A page that does not fill the view can't be scrolled.
    if (timeline.state === "ready" && this.#frame.scrollHeight <= this.#frame.clientHeight) this.#older(true);
    this.#seen();
  }

  #state(timeline, count) {
    const texts = { loading: count ? "" : t("loading"), failed: t("load-failed"), older: t("loading-older") };
    const text = texts[timeline.state] ?? (count === 0 ? t("no-messages") : "");
    const line = byId("history-state");
    if (line.dataset.text !== text) {
      line.dataset.text = text;
      line.replaceChildren(text);
      if (timeline.state === "failed") line.append(" ", el("button", { type: "button", onclick: () => timeline.load() }, t("try-again")));
      show(line, Boolean(text));
    }
    show(action("older"), timeline.more && timeline.state === "ready");
  }

  #item(item, node, previous) {
    const { room } = this.#rooms.open;
    return messageNode(item, node, previous, {
      key: item.seq ?? item.clientId,
      mine: this.#rooms.isMe(item.user_id),
      unfolded: this.#unfolded,
      acts: {
        retry: (clientId) => room.retry(clientId),
        discard: (clientId) => room.discard(clientId),
        unfold: (key) => {
          this.#unfolded.add(key);
          this.#draw();
        },
      },
    });
  }
}
