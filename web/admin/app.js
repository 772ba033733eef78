// Owns the start of the console: who may see it, the set-up link, and which section is open (#sessions?q=bob), so that the
// browser's Back works.

import { path } from "../client/hubbub.js";
import { action, byId, el, say, show } from "../shared/dom.js";
import { enter, takeCredentials } from "../shared/entrance.js";
import { errorText, fullTimeText, language, languageButton, recentText, speak, t, visible } from "../shared/language.js";
import { accounts, end, newHub, present } from "../shared/session.js";
import { Acts } from "./acts.js";
import { count, duration } from "./numbers.js";
import { Overview } from "./overview.js";
import { cell, Table } from "./tables.js";

const SECTIONS = ["overview", "sessions", "users", "rooms", "record"];

const { texts } = await import(`./${language}.js`);
speak(texts);
languageButton(action("language"));
for (const button of document.querySelectorAll('[data-action="sign-out"]')) button.addEventListener("click", () => end());

const setup = location.hash.match(/^#setup=(.+)$/)?.[1];
// The token is good for whoever has it: it stays neither in the address nor in the browser's history.
if (setup !== undefined) history.replaceState(null, "", location.pathname);
if (setup !== undefined) setUp(setup);
else if (present()) look();
else enter(look);

/** The first admin: a name and a password, and the console is theirs. */
function setUp(token) {
  byId("entrance-title").textContent = t("set-up-title");
  byId("entrance-hint").textContent = t("set-up-hint");
  action("sign-in").textContent = t("make-admin");
  show(byId("app-token"), false);
  byId("password").autocomplete = "new-password";
  show(byId("entrance"));
  const make = (name, password) => accounts.setUp(token, name, password).catch((error) => {
    if (error.status === 403) error.code = "setup_refused";
    throw error;
  });
  takeCredentials({ "sign-in": make }, () => {
    show(byId("entrance"), false);
    look();
  });
}

/** Whether they are an admin, before anything is shown. */
async function look() {
  const hub = newHub();
  hub.on("state", ({ reason }) => reason === "signed_out" && end(t("session-ended")));
  show(action("sign-out"));
  say(byId("gate-text"), t("loading"));
  show(byId("gate"));
  for (let me; !me; ) {
    try {
      me = await hub.call("GET", path("me"));
      say(byId("who"), visible(me.user, me.user_id));
      if (!me.admin) return say(byId("gate-text"), t("no-admin", visible(me.user, me.user_id)));
    } catch (error) {
      if (error.code === "signed_out") return undefined;
      say(byId("gate-text"), errorText(error));
      await new Promise((done) => setTimeout(done, 3_000));
    }
  }
  show(byId("gate"), false);
  return begin(hub);
}

function begin(hub) {
  const acts = new Acts(hub, () => open());
  const tables = makeTables(hub, acts);
  show(byId("console"));
  new Overview(hub);

  function open() {
    const [, name = "", q = ""] = location.hash.match(/^#([a-z]+)(?:\?q=(.*))?$/) ?? [];
    const section = SECTIONS.includes(name) ? name : "overview";
    for (const each of SECTIONS) {
      show(byId(`section-${each}`), each === section);
      const link = document.querySelector(`nav a[href="#${each}"]`);
      if (each === section) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${t(section)} · Hubbub`;
    const table = tables[section];
    if (!table) return;
    try {
      table.q = decodeURIComponent(q);
    } catch {
      table.q = "";
    }
    table.load();
  }
  window.addEventListener("hashchange", open);
  open();
}

const person = (name, id) => [el("bdi", { class: "strong" }, visible(name, id)), el("br"), el("bdi", { class: "muted small" }, id)];
const when = (timestamp) => (timestamp ? el("time", { datetime: timestamp, title: fullTimeText(timestamp) }, recentText(timestamp)) : "–");

function makeTables(hub, acts) {
  const searched = (section) => (q) => history.replaceState(null, "", q ? `#${section}?q=${encodeURIComponent(q)}` : `#${section}`);
  const button = (kind, subject, name) => el("button", { type: "button", "data-act": kind, onclick: () => acts.ask(kind, subject, name) }, t(`act-${kind}`));
  const list = (name, after) => async (q, last) => {
    const answer = await hub.call("GET", path("admin", name), { query: { q: q || undefined, after: last?.[after] } });
    return { rows: answer[name], more: answer.more };
  };
  return {
    sessions: new Table("sessions", {
      key: ({ session }) => session,
      searched: searched("sessions"),
      load: async (q) => {
        const { sessions, total, silent } = await hub.call("GET", path("admin", "sessions"), { query: { q: q || undefined, limit: 100 } });
        const note = [total > sessions.length && t("first-of", sessions.length, count(total)), silent.length && t("silent", silent.join(", "))];
        return { rows: sessions, more: false, note: note.filter(Boolean).join(" ") };
      },
      row: (one) => [
        cell("", ...person(one.user, one.user_id)), cell("node", el("code", {}, one.node.slice(0, 6))), cell("dialect", one.dialect),
        cell("open-for", duration(one.open_for_s)), cell("rooms", count(one.rooms)),
        cell("waiting", count(one.queued), one.lagging && el("strong", { class: "error" }, ` ${t("lags")}`)),
        cell("", button("close", one, visible(one.user, one.user_id))),
      ],
    }),
    users: new Table("users", {
      key: ({ user_id }) => user_id,
      searched: searched("users"),
      load: list("users", "user_id"),
      row: (one) => {
        const name = visible(one.user, one.user_id);
        return [
          cell("", ...person(one.user, one.user_id)),
          cell("role", t(one.disabled_at ? "disabled" : one.role === "admin" ? "admin" : "user"), one.account && el("span", { class: "muted small" }, ` · ${t("own-account")}`)),
          cell("first-seen", when(one.created_at)),
          cell("", el("a", { class: "button", href: `#sessions?q=${encodeURIComponent(one.user_id)}` }, t("sessions")),
            button(one.disabled_at ? "enable" : "disable", one, name), button("revoke", one, name)),
        ];
      },
    }),
    rooms: new Table("rooms", {
      key: ({ name }) => name,
      searched: searched("rooms"),
      load: list("rooms", "name"),
      row: (one) => [
        cell("", ...person(one.title, one.name)), cell("kind", t(one.kind)), cell("messages", count(one.message_count)), cell("members", count(one.members)),
        cell("last", when(one.last_at)), cell("", button("ban", one, visible(one.title, one.name)), button("unban", one, visible(one.title, one.name))),
      ],
    }),
    record: new Table("record", {
      key: ({ id }) => id,
      load: async (_, last) => {
        const { acts: rows, more } = await hub.call("GET", path("admin", "audit"), { query: { before: last?.id } });
        return { rows, more };
      },
      row: (one) => [
        cell("at", when(one.at)), cell("actor", el("bdi", {}, one.actor)), cell("action", el("code", {}, one.action)),
        cell("about", el("bdi", {}, [one.user_id, one.room].filter(Boolean).join(" · "))), cell("detail", el("bdi", { class: "small" }, one.detail ? JSON.stringify(one.detail) : "")),
      ],
    }),
  };
}
