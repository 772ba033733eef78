// Owns the start of the chat page: puts the parts together, shows the connection's state, and lets the address (#room=NAME)
// decide what is open, so that the browser's Back works.

import { Composer } from "./composer.js";
import { Details } from "./details.js";
import { Browse, NewRoom } from "./dialogs.js";
import { action, busy, byId, notice, say, show } from "./dom.js";
import { showEntrance } from "./entrance.js";
import { Messages } from "./messages.js";
import { Outbox } from "./outbox.js";
import { Presence } from "./presence.js";
import { Reads } from "./reads.js";
import { Rooms } from "./rooms.js";
import { Session } from "./session.js";
import { Sidebar } from "./sidebar.js";
import { Connection } from "./socket.js";
import { Sync } from "./sync.js";
import { errorText } from "./texts.js";
import { Typing } from "./typing.js";

let countdown = null;
const session = new Session();
action("sign-out").addEventListener("click", () => session.end());
if (session.present) chat();
else showEntrance(session, chat);

function chat() {
  const connection = new Connection(session);
  const rooms = new Rooms(session);
  const outbox = new Outbox(connection);
  const sync = new Sync(connection, rooms, outbox);
  const messages = new Messages(rooms, outbox);
  const typing = new Typing(rooms, connection);
  const reads = new Reads(rooms, connection, () => messages.newestInView);
  const join = (room) => sync.join(room);
  new Presence(rooms, connection);
  new Sidebar(rooms);
  new NewRoom(rooms, join, go);
  new Browse(rooms, join, go);
  new Details(rooms);
  new Composer(rooms, connection, {
    typed: (text) => typing.typed(text),
    send: (room, text) => {
      messages.toNewest();
      outbox.add(room, text);
    },
  });

  messages.onSeen(() => reads.look());
  outbox.addEventListener("sent", ({ detail: { room, message } }) => {
    room.log?.add({ ...message, user: rooms.me.user, user_id: rooms.me.userId });
    rooms.tell("log");
    rooms.settleIn(room).catch(() => {});
  });
  rooms.addEventListener("gone", ({ detail: { room, wasOpen } }) => {
    outbox.clear(room);
    sync.part(room);
    if (wasOpen && !room.leaving) notice(`You are no longer in ${room.title}.`);
    if (nameInAddress() === room.name) window.history.replaceState(null, "", "/");
    route(rooms);
  });
  for (const what of ["list", "open", "room"]) rooms.addEventListener(what, () => route(rooms));
  window.addEventListener("hashchange", () => route(rooms));
  rooms.addEventListener("open", () => rooms.open && focusRoom());
  for (const button of document.querySelectorAll('[data-action="back"]')) button.addEventListener("click", () => go(null));
  action("open-room").addEventListener("click", () => enter(rooms, join));

  connection.addEventListener("state", ({ detail }) => showState(detail));
  connection.addEventListener("ended", ({ detail }) => session.end(detail));
  connection.addEventListener("open", ({ detail }) => say(byId("who"), detail.user));
  for (const node of [byId("chat"), byId("connection"), action("sign-out")]) show(node);
  document.body.classList.add("chatting");
  const note = session.takeNote();
  if (note) notice(note);
  connection.start();
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
  const room = name === null ? undefined : rooms.get(name);
  // Without a cursor it is only being entered, and may yet be refused.
  const usable = room && room.cursor !== null ? room : null;
  if (rooms.open !== usable) {
    rooms.show(usable);
    return;
  }
  document.body.classList.toggle("in-room", name !== null);
  show(byId("room"), Boolean(usable));
  show(byId("welcome"), !usable);
  if (usable) byId("room-title").textContent = usable.title;
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
  let text = "Loading your rooms…";
  if (name !== null && rooms.loaded) text = "You are not in this room.";
  else if (rooms.loaded) text = none ? "You are in no room yet. Open the lobby, browse the rooms there are, or make a new one." : "Choose a room.";
  byId("welcome-text").textContent = text;
  byId("welcome-action").textContent = offered === null ? "" : `Open ${offered}`;
  action("open-room").dataset.name = offered ?? "";
  show(action("open-room"), offered !== null);
  show(action("back", byId("welcome")), name !== null);
}

function enter(rooms, join) {
  const { name } = action("open-room").dataset;
  say(byId("welcome-error"), "");
  busy(byId("welcome"), async () => {
    await rooms.enter(name, join);
    go(name);
    route(rooms);
  }, (error) => say(byId("welcome-error"), errorText(error)));
}

/** The line about the connection; "offline" counts down to the next attempt. */
function showState({ name, until, why }) {
  const line = byId("connection");
  clearInterval(countdown);
  line.dataset.state = name;
  const draw = () => {
    const seconds = Math.max(1, Math.ceil((until - Date.now()) / 1000));
    line.textContent = { online: "Online", connecting: "Connecting…" }[name] ?? why ?? `Offline, trying again in ${seconds} s`;
  };
  draw();
  if (name === "offline" && !why) countdown = setInterval(draw, 500);
}
