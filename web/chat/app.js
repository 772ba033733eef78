// Owns the start of the chat page: puts the parts together, and lets the address (#room=NAME) decide what is open, so that the
// browser's Back works.

import { action, busy, byId, notice, say, show } from "../shared/dom.js";
import { errorText, language, languageButton, speak, t, visible } from "../shared/language.js";
import { end, newHub, present, takeNote } from "../shared/session.js";
import { showState } from "./banner.js";
import { Composer } from "./composer.js";
import { Drafts } from "./drafts.js";
import { Head } from "./head.js";
import { History } from "./history.js";
import { Outgoing } from "./outgoing.js";
import { Reads } from "./reads.js";
import { Rooms } from "./rooms.js";
import { Sidebar } from "./sidebar.js";

const { texts } = await import(`./${language}.js`);
speak(texts);
languageButton(action("language"));
action("sign-out").addEventListener("click", () => end());
show(byId("welcome"), false);
if (present()) chat(takeNote());
else (await import("../shared/entrance.js")).enter(chat);

function chat(note) {
  const hub = newHub();
  const rooms = new Rooms(hub);
  const history = new History(rooms);
  const reads = new Reads(rooms, () => history.newestInView);
  history.onSeen(() => reads.look());
  new Sidebar(rooms);
  const head = new Head(rooms);
  onFirstUse("new-room", async () => new (await import("./dialogs.js")).NewRoom(rooms, go));
  onFirstUse("browse", async () => new (await import("./dialogs.js")).Browse(rooms, go));
  onFirstUse("details", async () => new (await import("./details.js")).Details(rooms, head));
  const drafts = new Drafts(hub);
  const outgoing = new Outgoing(rooms, drafts);
  new Composer(rooms, drafts, (entry, text) => {
    history.toNewest();
    outgoing.send(entry, text);
  });

  rooms.on("gone", ({ entry, wasOpen, how }) => {
    const told = t(how.error?.code === "banned" ? "banned" : "no-longer", entry.title, how.reason);
    if (!entry.leaving && (wasOpen || how.unsent.length)) notice(how.unsent.length ? `${told} ${t("kept-as-draft")}` : told);
    if (nameInAddress() === entry.name) window.history.replaceState(null, "", "/");
    route(rooms);
  });
  for (const what of ["list", "open", "room"]) rooms.on(what, () => route(rooms));
  window.addEventListener("hashchange", () => route(rooms));
  rooms.on("open", () => rooms.open && focusRoom());
  for (const button of document.querySelectorAll('[data-action="back"]')) button.addEventListener("click", () => go(null));
  action("open-room").addEventListener("click", () => enterRoom(rooms));

  hub.on("hello", ({ user, user_id }) => say(byId("who"), visible(user, user_id)));
  showState(hub, () => end(t("session-ended")));
  show(byId("chat"));
  show(action("sign-out"));
  document.body.classList.add("chatting");
  if (note) notice(note);
  route(rooms);
  hub.connect();
}

/** A dialog is loaded when its button is used first, and once, however often that is pressed meanwhile. */
function onFirstUse(name, load) {
  let loading = null;
  action(name).addEventListener("click", async () => {
    loading ??= load();
    const dialog = await loading.catch(() => {
      loading = null;
      notice(errorText({ code: "network" }));
    });
    dialog?.start();
  });
}

function go(name) {
  window.location.hash = name === null ? "" : `room=${encodeURIComponent(name)}`;
}

function nameInAddress() {
  const coded = window.location.hash.match(/^#room=(.+)$/)?.[1];
  try {
    return coded ? decodeURIComponent(coded) : null;
  } catch {
    return null;
  }
}

/** Opens what the address says, once it is known whether the user is in that room. */
function route(rooms) {
  const name = nameInAddress();
  const entry = name === null ? undefined : rooms.get(name);
  // Without a cursor it is only being entered, and may yet be refused.
  const usable = entry && entry.room.cursor !== null ? entry : null;
  if (rooms.open !== usable) return rooms.show(usable);
  document.body.classList.toggle("in-room", name !== null);
  show(byId("room"), Boolean(usable));
  show(byId("welcome"), !usable);
  if (usable) byId("room-title").textContent = visible(usable.title, usable.name);
  else welcome(rooms, name);
}

/** On to writing where there is a keyboard; on a phone that would cover half the room with one. */
function focusRoom() {
  byId(window.matchMedia("(min-width: 50rem)").matches ? "composer" : "room-title").focus({ preventScroll: true });
}

/** Where no room is open: a word, and a room to enter. */
function welcome(rooms, name) {
  const none = rooms.all.length === 0;
  const offered = rooms.loaded ? name ?? (none ? "lobby" : null) : null;
  const key = !rooms.loaded ? "loading-rooms" : name !== null ? "not-in-room" : none ? "in-no-room" : "choose-room";
  byId("welcome-text").textContent = t(key);
  byId("welcome-action").textContent = offered === null ? "" : t("open-named", offered);
  action("open-room").dataset.name = offered ?? "";
  show(action("open-room"), offered !== null);
  show(action("back", byId("welcome")), name !== null);
}

function enterRoom(rooms) {
  const { name } = action("open-room").dataset;
  say(byId("welcome-error"), "");
  busy(byId("welcome"), async () => {
    await rooms.enter(name);
    go(name);
    route(rooms);
  }, (error) => say(byId("welcome-error"), errorText(error)));
}
