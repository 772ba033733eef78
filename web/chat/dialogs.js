// Owns the two ways to a further room: browsing the open ones and making a new one.

import { action, busy, byId, el, keyed, say, show } from "../shared/dom.js";
import { errorText, t, visible } from "../shared/language.js";

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

/** `go(name)` opens a room. */
export class NewRoom extends Dialog {
  constructor(rooms, go) {
    super("new-room");
    const form = this.root.querySelector("form");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const { name, title, private: isPrivate } = form.elements;
      if (name.value.trim() === "") return say(this.error, t("no-room-name"));
      const wish = { name: name.value.trim(), title: title.value.trim(), kind: isPrivate.checked ? "private" : "public" };
      return this.run(async () => {
        const made = await rooms.make(wish);
        this.close();
        go(made.name);
      });
    });
  }

  start() {
    this.root.querySelector("form").reset();
    this.open();
  }
}

export class Browse extends Dialog {
  #rooms;
  #go;
  #found = [];

  constructor(rooms, go) {
    super("browse");
    this.#rooms = rooms;
    this.#go = go;
    this.action("more-rooms").addEventListener("click", () => this.#more());
  }

  start() {
    this.#found = [];
    this.#draw(false, t("loading"));
    this.open();
    this.#more();
  }

  #more() {
    return this.run(async () => {
      const { rooms, more } = await this.#rooms.browse(this.#found.at(-1)?.name);
      this.#found.push(...rooms);
      this.#draw(more, this.#found.length ? "" : t("none-to-browse"));
    });
  }

  #draw(more, text) {
    keyed(byId("open-rooms"), this.#found, ({ name }) => name, (about) => this.#line(about));
    say(byId("browse-state"), text);
    show(this.action("more-rooms"), more);
  }

  #line(about) {
    const { name, title, kind, message_count } = about;
    const known = this.#rooms.get(name);
    const enter = () => this.run(async () => {
      if (!known) await this.#rooms.enter(name, about);
      this.close();
      this.#go(name);
    });
    return el("li", { "data-room": name },
      el("div", {}, el("strong", { dir: "auto" }, visible(title, name)),
        el("span", { class: "muted small" }, el("bdi", {}, name), ` · ${t("messages", message_count)}${kind === "private" ? ` · ${t("private")}` : ""}`)),
      el("button", { type: "button", "data-action": "enter", onclick: enter }, t(known ? "open" : "join")));
  }
}
