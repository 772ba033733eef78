// Owns the sentences and times that people read: errors, reasons of closing, names in a row, clocks.

import { el } from "./dom.js";

const ERRORS = {
  network: "The hub cannot be reached at the moment.",
  timeout: "The hub took too long to answer.",
  forbidden: "You may not do this.",
  room_not_found: "There is no such room, or it is not open to you.",
  bad_room_name: "This cannot be a room’s name. Use letters, digits and - _ . without spaces.",
  room_exists: "A room of this name is there already. Please choose another name.",
  room_limit: "You have made or opened many rooms lately. Please try again later.",
  too_long: "This is too long.",
  empty: "The message is blank.",
  rate_limited: "That was a little fast. Please try again in a moment.",
  busy: "The hub is busy. Please try again in a moment.",
  unavailable: "The hub cannot store anything at the moment. Please try again in a moment.",
  internal: "Something went wrong in the hub.",
};

/** A sentence for an error of the hub or of the network; falls back on the hub's own words. */
export function errorText(error) {
  return ERRORS[error?.code] ?? error?.message ?? "Something went wrong.";
}

const CLOSES = {
  1002: "the page and the hub do not understand each other",
  1003: "the hub does not take this kind of data",
  1007: "the hub could not read what the page sent",
  1008: "too much was sent in a short time",
  1009: "something that was sent was too big",
  4500: "the hub does not accept your token",
  4501: "your access was withdrawn",
  4502: "you are banned from this room",
  4503: "signing in took too long",
  4504: "you are signed in at too many places",
  4505: "an admin closed this session",
};

/** Why the hub closed for good. */
export function closeText(code, reason) {
  return `Disconnected: ${CLOSES[code] ?? (reason || "the hub closed the connection")} (${code}). Reload the page to try again.`;
}

/** "alice", "alice and bob", "alice, bob and 3 more" as nodes; <bdi> keeps each name's direction to itself. */
export function nameNodes(names, total = names.length, most = 3) {
  const shown = total > most ? names.slice(0, most - 1) : names;
  const rest = total - shown.length;
  const parts = shown.map((name) => el("bdi", {}, name));
  if (rest > 0) parts.push(`${rest} more`);
  return parts.flatMap((part, index) => {
    if (index === 0) return [part];
    return [index === parts.length - 1 ? " and " : ", ", part];
  });
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const shortDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const longDay = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

const valid = (timestamp) => {
  const date = new Date(timestamp);
  return Number.isNaN(date.getTime()) ? null : date;
};

export function timeText(timestamp) {
  const date = valid(timestamp);
  return date ? clock.format(date) : "";
}

export function fullTimeText(timestamp) {
  const date = valid(timestamp);
  return date ? full.format(date) : "";
}

export function dayText(timestamp) {
  const date = valid(timestamp);
  if (!date) return "";
  return date.toDateString() === new Date().toDateString() ? "Today" : longDay.format(date);
}

/** For the room list: the time today, else the day. */
export function recentText(timestamp) {
  const date = valid(timestamp);
  if (!date) return "";
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : shortDay.format(date);
}

/** What stands for a message where its text may be empty. */
export function bodyText(message) {
  return message.message || (message.data === undefined ? "" : "(data without text)");
}
