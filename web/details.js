// Owns the dialog about the open room: its title, its members, adding and removing them, leaving.

import { action, busy, byId, el, keyed, notice, say, show } from "./dom.js";
import { Dialog } from "./dialogs.js";
import { errorText } from "./texts.js";

export class Details extends Dialog {
  #rooms;
  #room = null;
  #members = [];
  #sure = false;

  constructor(rooms) {
    super("details");
    this.#rooms = rooms;
    action("details").addEventListener("click", () => this.#start());
    this.action("more-members").addEventListener("click", () => this.run(() => this.#more()));
    this.action("leave").addEventListener("click", () => this.#leave());
    byId("rename").addEventListener("submit", (event) => this.#rename(event));
    byId("add-member").addEventListener("submit", (event) => this.#add(event));
    rooms.addEventListener("members", ({ detail }) => detail.room === this.#room && this.root.open && this.#reload());
    rooms.addEventListener("open", () => this.close());
  }

  #start() {
    const room = this.#rooms.open;
    this.#room = room;
    this.#members = [];
    this.#leaving(false);
    byId("rename-title").value = room.title;
    byId("add-user").value = "";
    this.#draw(false, "Loading…");
    this.open();
    this.#reload();
  }

  #reload() {
    this.#members = [];
    return this.run(() => this.#more());
  }

  async #more() {
    const room = this.#room;
    const { members, more } = await this.#rooms.members(room, this.#members.at(-1)?.user_id);
    if (room !== this.#room) return;
    const known = new Set(this.#members.map((member) => member.user_id));
    this.#members.push(...members.filter((member) => !known.has(member.user_id)));
    this.#draw(more, this.#members.length ? "" : "No members yet.");
  }

  #draw(more, text) {
    const { title, name, kind, mayManage } = this.#room;
    byId("details-title").textContent = title;
    byId("details-name").textContent = `${name} · ${kind === "private" ? "private" : "open to everyone"}`;
    show(byId("rename"), mayManage);
    show(byId("add-member"), mayManage);
    keyed(byId("members"), this.#members, (member) => member.user_id, (member) => this.#line(member));
    say(byId("members-state"), text);
    show(this.action("more-members"), more);
  }

  #line(member) {
    const me = member.user_id === this.#rooms.me.userId;
    const removable = this.#room.mayManage && !me && member.role !== "owner";
    const remove = () => this.run(async () => {
      await this.#rooms.removeMember(this.#room, member.user_id);
      this.#members = this.#members.filter((other) => other !== member);
      this.#draw(!this.action("more-members").hidden, "");
    });
    return el("li", { "data-user-id": member.user_id },
      el("div", {}, el("strong", { dir: "auto" }, member.user || member.user_id),
        el("span", { class: "muted small" }, el("bdi", {}, member.user_id), ` · ${member.role}${me ? " · you" : ""}`)),
      removable && el("button", { type: "button", "data-action": "remove-member", onclick: remove }, "Remove"));
  }

  #rename(event) {
    event.preventDefault();
    this.run(async () => {
      await this.#rooms.rename(this.#room, byId("rename-title").value.trim());
      byId("details-title").textContent = this.#room.title;
    });
  }

  #add(event) {
    event.preventDefault();
    const userId = byId("add-user").value.trim();
    if (!userId) return;
    this.run(async () => {
      await this.#rooms.addMember(this.#room, userId);
      byId("add-user").value = "";
      this.#members = [];
      await this.#more();
    });
  }

  #leaving(sure) {
    this.#sure = sure;
    this.action("leave").textContent = sure ? "Yes, leave it" : "Leave this room";
  }

  /** The first press asks, the second leaves. */
  #leave() {
    if (!this.#sure) return this.#leaving(true);
    const room = this.#room;
    return busy(this.root, async () => {
      await this.#rooms.leave(room);
      this.close();
      notice(`You have left ${room.title}.`);
    }, (error) => say(this.error, errorText(error)));
  }
}
