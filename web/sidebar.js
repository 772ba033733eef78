// Owns the list of the user's rooms, its unread counts, and the count in the tab's title.

import { byId, coalesced, el, keyed, show } from "./dom.js";
import { bodyText, recentText } from "./texts.js";

export class Sidebar {
  #rooms;

  constructor(rooms) {
    this.#rooms = rooms;
    const draw = coalesced(() => this.#draw());
    for (const what of ["list", "open"]) rooms.addEventListener(what, draw);
  }

  #draw() {
    const all = this.#rooms.all;
    keyed(byId("rooms"), all, (room) => room.name, (room, node) => this.#line(room, node));
    show(byId("rooms-empty"), this.#rooms.loaded && all.length === 0);
    const unread = this.#rooms.unread;
    const title = this.#rooms.open ? `${this.#rooms.open.title} · Hubbub` : "Hubbub";
    document.title = unread ? `(${unread > 99 ? "99+" : unread}) ${title}` : title;
  }

  #line(room, node) {
    const item = node ?? this.#newLine(room);
    const [title, time, preview, badge] = ["title", "time", "preview", "badge"].map((name) => item.querySelector(`.line-${name}`));
    title.textContent = room.title;
    time.textContent = room.last ? recentText(room.last.timestamp) : "";
    preview.replaceChildren(...this.#preview(room));
    badge.textContent = room.unread > 99 ? "99+" : String(room.unread);
    badge.setAttribute("aria-label", `${room.unread} unread`);
    show(badge, room.unread > 0);
    item.classList.toggle("unread", room.unread > 0);
    const link = item.firstElementChild;
    if (room === this.#rooms.open) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    return item;
  }

  #newLine(room) {
    return el("li", { "data-room": room.name },
      el("a", { href: `#room=${encodeURIComponent(room.name)}`, class: "line" },
        el("span", { class: "line-title", dir: "auto" }),
        el("span", { class: "line-time small" }),
        el("span", { class: "line-preview small" }),
        el("span", { class: "line-badge small", role: "img" })));
  }

  #preview({ last, kind }) {
    if (!last) return [kind === "private" ? "Private, no messages yet" : "No messages yet"];
    const text = bodyText(last).slice(0, 200).replace(/\s+/g, " ");
    return [el("bdi", {}, this.#rooms.mine(last) ? "You" : last.user), ": ", el("bdi", {}, text)];
  }
}
