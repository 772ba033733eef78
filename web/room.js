// Owns what the page knows of one room: its description, its cursor in the event log, unread count, who is typing.

import { RoomLog } from "./log.js";

export class Room {
  title;
  kind = "public";
  /** owner, moderator, member; null where one is not a member (an open room may be used without). */
  role = null;
  /** The seq up to which `unread` and `last` are right. */
  head = 0;
  unread = 0;
  readSeq = 0;
  last = null;
  /** The last event that this page has seen, of the log that `epoch` names; null before the first join. */
  cursor = null;
  epoch = undefined;
  joined = false;
  /** A join, a departure, a first belonging is under way or was tried: not to be done twice. */
  joining = false;
  leaving = false;
  settled = false;
  /** Only while the room is open. */
  log = null;
  /** Who is typing: user_id to {user, until}. */
  typists = new Map();
  draft = "";

  constructor(name) {
    this.name = name;
    this.title = name;
  }

  get mayManage() {
    return this.role === "owner" || this.role === "moderator";
  }

  /** Takes over a description from the API. Counts that are older than the events seen since are left out. */
  describe(room) {
    this.title = room.title || this.name;
    this.kind = room.kind ?? this.kind;
    this.role = room.role ?? this.role;
    if (typeof room.unread === "number" && room.head >= this.head) {
      this.head = room.head;
      this.unread = room.unread;
      this.readSeq = Math.max(this.readSeq, room.read_seq ?? 0);
      this.last = room.last_message ?? this.last;
    }
    if (this.cursor === null && typeof room.head === "number") {
      this.cursor = room.head;
      this.epoch = room.epoch;
    }
  }

  /** A numbered event came. Any moves the cursor, also one of a type that this page does not know. */
  take(event, mine) {
    if (event.seq > (this.cursor ?? 0)) this.cursor = event.seq;
    const counted = event.seq <= this.head;
    if (!counted) this.head = event.seq;
    if (event.type !== "message") return false;
    this.typists.delete(event.user_id);
    if (!counted) {
      this.last = event;
      if (!mine) this.unread += 1;
    }
    return this.log?.add(event) ?? false;
  }

  /** The hub can't go on from the cursor: what is shown is dropped, the history is the truth from here. */
  reset(head, epoch) {
    this.cursor = head;
    this.epoch = epoch ?? this.epoch;
    this.head = head;
    this.readSeq = Math.min(this.readSeq, head);
    if (this.log) this.log = new RoomLog();
  }

  /** Read up to `seq`, here or in another session. */
  read(seq) {
    if (seq <= this.readSeq) return;
    this.readSeq = seq;
    this.unread = seq >= this.head ? 0 : Math.min(this.unread, this.head - seq);
  }
}
