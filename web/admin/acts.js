// Owns what an admin can do to somebody: each act is asked about first, in a dialog that says what it will do, and its outcome is said.

import { path } from "../client/hubbub.js";
import { action, busy, byId, el, notice, say, show } from "../shared/dom.js";
import { errorText, t, visible } from "../shared/language.js";

/** What each act calls: method, path, body. `subject` is whom or what it is about, `given` what was filled in. */
const ACTS = {
  close: { fields: [], call: ({ session }) => ["POST", path("admin", "sessions", session, "close"), {}] },
  disable: { fields: ["reason"], call: ({ user_id }, { reason }) => ["POST", path("admin", "users", user_id, "disable"), { reason }] },
  enable: { fields: [], call: ({ user_id }) => ["POST", path("admin", "users", user_id, "enable"), {}] },
  revoke: { fields: [], call: ({ user_id }) => ["POST", path("admin", "users", user_id, "revoke"), {}] },
  ban: { fields: ["user", "reason", "until"], call: ({ name }, { user, reason, until }) => ["PUT", path("rooms", name, "bans", user), { reason, until }] },
  unban: { fields: ["banned"], call: ({ name }, { banned }) => ["DELETE", path("rooms", name, "bans", banned)] },
};

export class Acts {
  #hub;
  #dialog = byId("act");
  #form = byId("act").querySelector("form");
  #error = byId("act").querySelector(".error");
  #act = null;
  #done = () => {};

  /** `done()` is called after each act: what is shown may have changed. */
  constructor(hub, done) {
    this.#hub = hub;
    this.#done = done;
    action("cancel", this.#dialog).addEventListener("click", () => this.#dialog.close());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#carryOut();
    });
  }

  /** Asks about an act; `name` is how people call its subject. */
  ask(kind, subject, name) {
    this.#act = { kind, subject, name };
    byId("act-title").textContent = t(`act-${kind}`);
    byId("act-text").textContent = t(`ask-${kind}`, name);
    for (const field of this.#form.querySelectorAll("[data-field]")) show(field, ACTS[kind].fields.includes(field.dataset.field));
    this.#form.reset();
    say(this.#error, "");
    const button = action("do", this.#dialog);
    button.textContent = t(`act-${kind}`);
    button.className = kind === "enable" || kind === "unban" ? "primary" : "danger";
    this.#dialog.showModal();
    if (kind === "unban") this.#listBans(subject);
  }

  /** Who is banned from a room, to choose from. */
  #listBans({ name }) {
    const list = this.#form.elements.banned;
    list.replaceChildren();
    return busy(this.#form, async () => {
      const { bans } = await this.#hub.call("GET", path("rooms", name, "bans"), { query: { limit: 100 } });
      list.replaceChildren(...bans.map(({ user_id, user, reason }) =>
        el("option", { value: user_id }, [visible(user, user_id), user_id, reason].filter(Boolean).join(" · "))));
      say(this.#error, bans.length ? "" : t("no-bans"));
    }, (error) => say(this.#error, errorText(error)));
  }

  #carryOut() {
    const { kind, subject, name } = this.#act;
    const given = Object.fromEntries(ACTS[kind].fields.map((field) => [field, this.#form.elements[field].value.trim() || undefined]));
    if (ACTS[kind].fields.includes("user") && !given.user) return say(this.#error, t("no-user"));
    if (kind === "unban" && !given.banned) return say(this.#error, t("no-bans"));
    if (given.until) given.until = new Date(given.until).toISOString();
    say(this.#error, "");
    return busy(this.#form, async () => {
      const [method, address, body] = ACTS[kind].call(subject, given);
      const answer = await this.#hub.call(method, address, { body });
      this.#dialog.close();
      // A session of another node is closed there, within a second or two.
      notice(t(kind === "close" && !answer.closed ? "did-ask-to-close" : `did-${kind}`, given.user ?? given.banned ?? name, name));
      this.#done();
    }, (error) => say(this.#error, errorText(error)));
  }
}
