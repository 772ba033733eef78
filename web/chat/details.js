// Owns the dialog about the open room: its title, its members, adding and removing them, leaving.

import { byId, el, keyed, notice, say, show } from "../shared/dom.js";
import { t, visible } from "../shared/language.js";
import { Dialog } from "./dialogs.js";

export class Details extends Dialog {
  #rooms;
  #head;
  #entry = null;
  #members = [];
  #sure = false;

  constructor(rooms, head) {
    super("details");
    this.#rooms = rooms;
    this.#head = head;
    this.action("more-members").addEventListener("click", () => this.run(() => this.#more()));
    this.action("leave").addEventListener("click", () => this.#leave());
    byId("rename").addEventListener("submit", (event) => this.#rename(event));
    byId("add-member").addEventListener("submit", (event) => this.#add(event));
    rooms.on("members", (entry) => entry === this.#entry && this.root.open && this.#reload());
    rooms.on("open", () => this.close());
  }

  start() {
    if (!this.#rooms.open) return;
    this.#entry = this.#rooms.open;
    this.#leaving(false);
    byId("rename-title").value = this.#entry.title;
    byId("add-user").value = "";
    this.#members = [];
    this.#draw(false, t("loading"));
    this.open();
    this.#reload();
  }

  #reload() {
    this.#members = [];
    return this.run(() => this.#more());
  }

  async #more() {
    const entry = this.#entry;
    const { members, more } = await this.#rooms.members(entry, this.#members.at(-1)?.user_id);
    if (entry !== this.#entry) return;
    const known = new Set(this.#members.map(({ user_id }) => user_id));
    this.#members.push(...members.filter(({ user_id }) => !known.has(user_id)));
    this.#draw(more, this.#members.length ? "" : t("no-members"));
  }

  #draw(more, text) {
    const { title, name, kind, mayManage } = this.#entry;
    byId("details-title").textContent = visible(title, name);
    byId("details-name").textContent = `${name} · ${t(kind === "private" ? "private" : "public")}`;
    show(byId("rename"), mayManage);
    show(byId("add-member"), mayManage);
    keyed(byId("members"), this.#members, ({ user_id }) => user_id, (member) => this.#line(member));
    say(byId("members-state"), text);
    show(this.action("more-members"), more);
  }

  #line({ user_id, user, role }) {
    const me = this.#rooms.isMe(user_id);
    const removable = this.#entry.mayManage && !me && role !== "owner";
    const remove = () => this.run(async () => {
      await this.#rooms.removeMember(this.#entry, user_id);
      await this.#reload();
    });
    const here = this.#head.here.has(user_id);
    return el("li", { "data-user-id": user_id },
      el("div", {}, el("strong", { dir: "auto" }, visible(user, user_id)),
        el("span", { class: "muted small" }, el("bdi", {}, user_id), ` · ${t(role)}${me ? ` · ${t("you")}` : ""}${here ? ` · ${t("online")}` : ""}`)),
      removable && el("button", { type: "button", "data-action": "remove-member", onclick: remove }, t("remove")));
  }

  #rename(event) {
    event.preventDefault();
    this.run(async () => {
      await this.#rooms.rename(this.#entry, byId("rename-title").value.trim());
      byId("details-title").textContent = this.#entry.title;
    });
  }

  #add(event) {
    event.preventDefault();
    const userId = byId("add-user").value.trim();
    if (!userId) return;
    this.run(async () => {
      await this.#rooms.addMember(this.#entry, userId);
      byId("add-user").value = "";
      await this.#reload();
    });
  }

  #leaving(sure) {
    this.#sure = sure;
    this.action("leave").textContent = t(sure ? "leave-sure" : "leave");
  }

  /** The first press asks, the second leaves. */
  #leave() {
    if (!this.#sure) return this.#leaving(true);
    const entry = this.#entry;
    return this.run(async () => {
      await this.#rooms.leave(entry);
      this.close();
      notice(t("left", entry.title));
    });
  }
}
