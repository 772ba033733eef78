// Owns what was sent and is not known to be stored, over a page that is loaded anew: kept for this tab, by user, each under its
// client_id, so that sending it again can't double it.

import { tab } from "../shared/session.js";

const KEY = "hubbub.unsent";
const key = (hub) => `${KEY} ${hub.user.id}`;

function kept(hub) {
  try {
    return JSON.parse(tab(key(hub))) ?? [];
  } catch {
    return [];
  }
}

/** Sends what an earlier page left, once, then keeps what this one sends. For when `rooms` has the rooms of the user. */
export function keepUnsent(rooms) {
  const { hub } = rooms;
  const left = kept(hub);
  const keep = () => {
    const entries = rooms.all.flatMap(({ name, room }) => room.outbox.map(({ message, data, clientId }) => ({ room: name, message, data, clientId })));
    tab(key(hub), entries.length ? JSON.stringify(entries) : null);
  };
  rooms.on("outbox", keep);
  left.forEach(async ({ room, message, data, clientId }) => {
    // A room that is in no list is one that was used without belonging to it, or that its first message was to make.
    const entry = rooms.get(room) ?? (await rooms.enter(room).catch(() => null));
    entry?.room.send(message, { data, clientId }).catch(() => {}); // What became of it is shown with the message.
  });
}
