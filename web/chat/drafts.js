// Owns the drafts: what was written and not sent, by user and room, kept for this tab, so that a page that is loaded anew loses no
// text and nobody sees another's. Emits "given-back" (a room's name) where a text comes back that had been sent.

import { Emitter } from "../client/emitter.js";
import { tab } from "../shared/session.js";

export class Drafts extends Emitter {
  #hub;

  constructor(hub) {
    super();
    this.#hub = hub;
  }

  #key(room) {
    return `hubbub.draft ${this.#hub.user.id} ${room}`;
  }

  of(room) {
    return tab(this.#key(room)) ?? "";
  }

  set(room, text) {
    tab(this.#key(room), text || null);
  }

  /** A message that can't be sent is a draft again, in front of what is being written. */
  giveBack(room, text) {
    this.set(room, [text, this.of(room)].filter(Boolean).join("\n"));
    this.emit("given-back", room);
  }
}
