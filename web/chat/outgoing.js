// Owns what is sent and not known to be stored: over a page that is loaded anew (kept for this tab, by user, each under its client_id,
// so that sending it again can't double it), and where its room goes: then it is a draft again, and that is said.

import { notice } from "../shared/dom.js";
import { errorText, t } from "../shared/language.js";
import { tab } from "../shared/session.js";

export class Outgoing {
  #rooms;
  #drafts;
  /** Of an earlier page, not handed to their rooms yet: {room, message, data, clientId}. */
  #waiting = [];

  constructor(rooms, drafts) {
    this.#rooms = rooms;
    this.#drafts = drafts;
    rooms.on("gone", ({ entry, how }) => {
      for (const { message } of [...how.unsent].reverse()) drafts.giveBack(entry.name, message);
      this.#keep();
    });
    rooms.on("outbox", () => this.#keep());
    const loaded = rooms.on("list", () => {
      if (!rooms.loaded) return;
      loaded();
      this.#sendKept();
    });
  }

  /** Sends a message; what becomes of it is shown with it. */
  send(entry, message, options) {
    const { room } = entry;
    const fate = room.send(message, options);
    const sent = room.outbox.at(-1);
    fate.catch((error) => {
      // Failed ones stay with the room's messages, and what a room that goes has not sent is given back above. The rest: one too many
      // (it never was in the outbox), and one that was on its way when the room went.
      const refused = sent?.message !== message || (error.code !== "discarded" && !room.wanted && sent.error === error);
      if (refused) this.#giveBack(entry.name, [message], error);
    });
  }

  #giveBack(room, messages, error) {
    for (const message of [...messages].reverse()) this.#drafts.giveBack(room, message);
    notice(t("given-back", room, errorText(error)));
  }

  get #key() {
    return `hubbub.unsent ${this.#rooms.hub.user.id}`;
  }

  #keep() {
    const entries = this.#rooms.all.flatMap(({ name, room }) => room.outbox.map(({ message, data, clientId }) => ({ room: name, message, data, clientId })));
    const all = [...this.#waiting, ...entries];
    tab(this.#key, all.length ? JSON.stringify(all) : null);
  }

  /** Sends what an earlier page left, each room's in order. */
  #sendKept() {
    try {
      this.#waiting = JSON.parse(tab(this.#key)) ?? [];
    } catch {
      this.#waiting = [];
    }
    for (const name of new Set(this.#waiting.map(({ room }) => room))) this.#sendTo(name);
  }

  async #sendTo(name) {
    let entry = this.#rooms.get(name);
    let failure = null;
    try {
      // A room that is in no list is one that was used without belonging to it, or that its first message was to make.
      entry ??= await this.#rooms.enter(name);
    } catch (error) {
      failure = error;
    }
    const mine = this.#waiting.filter(({ room }) => room === name);
    this.#waiting = this.#waiting.filter(({ room }) => room !== name);
    if (failure) this.#giveBack(name, mine.map(({ message }) => message), failure);
    else for (const { message, data, clientId } of mine) this.send(entry, message, { data, clientId });
    this.#keep();
  }
}
