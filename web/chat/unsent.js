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

/** Sends what an earlier page left, once, then keeps what this one sends. `rooms` has entered the rooms that it knows. */
export function keepUnsent(rooms) {
  const { hub } = rooms;
  for (const { room, message, data, clientId } of kept(hub)) {
    const entry = rooms.get(room);
    entry?.room.send(message, { data, clientId }).catch(() => {});
  }
  return () => {
    const entries = rooms.all.flatMap(({ name, room }) => room.outbox.map(({ message, data, clientId }) => ({ room: name, message, data, clientId })));
    tab(key(hub), entries.length ? JSON.stringify(entries) : null);
  };
}
