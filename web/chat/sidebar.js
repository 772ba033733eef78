// Owns the list of the user's rooms, its unread counts, and the count in the tab's title.

import { byId, coalesced, el, keyed, say, show } from "../shared/dom.js";
import { recentText, t, visible } from "../shared/language.js";
import { bodyText } from "./message.js";

const most = (count) => (count > 99 ? "99+" : String(count));

export class Sidebar {
  #rooms;

  constructor(rooms) {
    this.#rooms = rooms;
    const draw = coalesced(() => this.#draw());
    for (const what of ["list", "open"]) rooms.on(what, draw);
  }

  #draw() {
    const { all, loaded, failed, unread, open } = this.#rooms;
    keyed(byId("rooms"), all, ({ name }) => name, (entry, node) => this.#line(entry, node));
    const text = loaded && !all.length ? t("no-rooms") : failed && !loaded ? t("rooms-failed") : loaded ? "" : t("loading");
    say(byId("rooms-state"), text);
    show(byId("rooms"), all.length > 0);
    const title = open ? `${open.title} · Hubbub` : "Hubbub";
    document.title = unread ? `(${most(unread)}) ${title}` : title;
  }

  #line(entry, node) {
    const item = node ?? this.#newLine(entry);
    const [title, time, preview, badge] = ["title", "time", "preview", "badge"].map((name) => item.querySelector(`.line-${name}`));
    title.textContent = visible(entry.title, entry.name);
    time.textContent = entry.last ? recentText(entry.last.timestamp) : "";
    preview.replaceChildren(...this.#preview(entry));
    badge.textContent = most(entry.unread);
    badge.setAttribute("aria-label", t("unread", entry.unread));
    show(badge, entry.unread > 0);
    item.classList.toggle("unread", entry.unread > 0);
    const link = item.firstElementChild;
    if (entry === this.#rooms.open) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    return item;
  }

  #newLine({ name }) {
    return el("li", { "data-room": name },
      el("a", { href: `#room=${encodeURIComponent(name)}`, class: "line" },
        el("span", { class: "line-title", dir: "auto" }),
        el("span", { class: "line-time small" }),
        el("span", { class: "line-preview small" }),
        el("span", { class: "line-badge small", role: "img" })));
  }

  #preview({ last, kind }) {
    if (!last) return [t(kind === "private" ? "empty-private" : "empty")];
    const text = bodyText(last).slice(0, 200).replace(/\s+/g, " ");
    const { user, user_id } = last;
    return [el("bdi", {}, this.#rooms.isMe(user_id) ? t("you") : visible(user, user_id)), ": ", el("bdi", {}, text)];
  }
}
