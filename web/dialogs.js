// Owns the two ways to a further room: browsing the open ones and making a new one.

import { action, busy, byId, el, keyed, say, show } from "./dom.js";
import { errorText } from "./texts.js";

/** A <dialog> with its close button and its line for errors. */
export class Dialog {
  constructor(id) {
    this.root = byId(id);
    this.error = this.root.querySelector(".error");
    this.action("close").addEventListener("click", () => this.close());
  }

  action(name) {
    return action(name, this.root);
  }

  open() {
    say(this.error, "");
    this.root.showModal();
  }

  close() {
    this.root.close();
  }

  /** Runs what a button started; an error is shown in the dialog. */
  run(work) {
    say(this.error, "");
    return busy(this.root, work, (error) => say(this.error, errorText(error)));
  }
}

/** `go(name)` opens a room; `join` is the socket's. */
export class NewRoom extends Dialog {
  constructor(rooms, join, go) {
    super("new-room");
    const form = this.root.querySelector("form");
    action("new-room").addEventListener("click", () => {
      form.reset();
      this.open();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const { name, title, private: isPrivate } = form.elements;
      if (name.value.trim() === "") return say(this.error, "Please give the room a name.");
      const wish = { name: name.value.trim(), title: title.value.trim(), kind: isPrivate.checked ? "private" : "public" };
      return this.run(async () => {
        const room = await rooms.make(wish, join);
        this.close();
        go(room.name);
      });
    });
  }
}

export class Browse extends Dialog {
  #rooms;
  #join;
  #go;
  #found = [];

  constructor(rooms, join, go) {
    super("browse");
    this.#rooms = rooms;
    this.#join = join;
    this.#go = go;
    action("browse").addEventListener("click", () => this.#start());
    this.action("more-rooms").addEventListener("click", () => this.#more());
  }

  #start() {
    this.#found = [];
    this.#draw(false, "Loading…");
    this.open();
    this.#more();
  }

  #more() {
    return this.run(async () => {
      const { rooms, more } = await this.#rooms.browse(this.#found.at(-1)?.name);
      this.#found.push(...rooms);
      this.#draw(more, this.#found.length ? "" : "There are no rooms yet. Make the first one.");
    });
  }

  #draw(more, text) {
    keyed(byId("open-rooms"), this.#found, (room) => room.name, (room) => this.#line(room));
    say(byId("browse-state"), text);
    show(this.action("more-rooms"), more);
  }

  #line(room) {
    const known = this.#rooms.get(room.name);
    const count = room.message_count === 1 ? "1 message" : `${room.message_count ?? room.head ?? 0} messages`;
    const enter = () => this.run(async () => {
      if (!known) await this.#rooms.enter(room.name, this.#join, room);
      this.close();
      this.#go(room.name);
    });
    return el("li", { "data-room": room.name },
      el("div", {}, el("strong", { dir: "auto" }, room.title || room.name),
        el("span", { class: "muted small" }, el("bdi", {}, room.name), ` · ${count}${room.kind === "private" ? " · private" : ""}`)),
      el("button", { type: "button", "data-action": "enter", onclick: enter }, known ? "Open" : "Join"));
  }
}
