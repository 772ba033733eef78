// Owns how one message looks: its day and author where they change, its text with links, and, for one's own, what became of it.

import { el, say } from "../shared/dom.js";
import { dayText, errorText, fullTimeText, t, timeText, visible } from "../shared/language.js";
import { linked } from "./links.js";

const TOGETHER_MS = 5 * 60_000;
const TONES = 8;
/** Past either a message is folded. */
const LONG_CHARS = 1_500;
const LONG_LINES = 20;

/** What stands for a message where its text may be empty. */
export const bodyText = ({ message, data }) => message || (data === undefined ? "" : t("data-only"));

/** One of a few colours for a user, always the same. */
function tone(userId) {
  let sum = 0;
  for (const char of String(userId)) sum = (sum * 31 + char.codePointAt(0)) % 9973;
  return sum % TONES;
}

const firstLetter = (name) => [...name].find((char) => /[\p{L}\p{N}\p{S}]/u.test(char))?.toUpperCase() ?? "?";
const stateOf = ({ state, error }) => (state ? `${state} ${error?.code ?? ""}` : "stored");

/**
 * The message's element: `node` if that still shows it, else a new one. `unfolded` are the keys of long ones that are shown whole;
 * `acts` has retry, discard and unfold.
 */
export function messageNode(item, node, previous, { key, mine, unfolded, acts }) {
  const folded = !unfolded.has(key) && (item.message.length > LONG_CHARS || item.message.split("\n", LONG_LINES + 1).length > LONG_LINES);
  const shown = `${stateOf(item)} ${folded}`;
  const made = node?.dataset.shown === shown ? node : newNode(item, shown, { mine, folded, unfold: () => acts.unfold(key), acts });
  const sameDay = previous && dayText(previous.timestamp) === dayText(item.timestamp);
  const together = sameDay && previous.user_id === item.user_id && previous.user === item.user
    && Date.parse(item.timestamp) - Date.parse(previous.timestamp) < TOGETHER_MS;
  made.classList.toggle("together", Boolean(together));
  say(made.querySelector(".day"), sameDay ? "" : dayText(item.timestamp));
  return made;
}

function newNode(item, shown, { mine, folded, unfold, acts }) {
  const { seq, clientId, state, user, user_id, timestamp, message } = item;
  const name = visible(user, user_id);
  return el("li", { "data-seq": seq, "data-client-id": clientId, "data-shown": shown, class: `message ${mine ? `mine ${state ?? "stored"}` : ""}` },
    el("p", { class: "day", hidden: true }),
    el("span", { class: `avatar tone-${tone(user_id)}`, "aria-hidden": "true" }, firstLetter(name)),
    el("div", { class: "byline" },
      el("bdi", { class: "author", title: user_id }, name),
      el("time", { class: "muted small", datetime: timestamp, title: fullTimeText(timestamp) }, timeText(timestamp))),
    el("p", { class: `text ${message ? "" : "muted"} ${folded ? "folded" : ""}`, dir: "auto" }, ...linked(bodyText(item))),
    folded && el("button", { type: "button", class: "quiet unfold", onclick: unfold }, t("show-all")),
    state && fate(item, acts));
}

/** Sending, or failed with what can be done. */
function fate({ state, clientId, error }, acts) {
  if (state === "sending") return el("p", { class: "fate muted small" }, error ? t("sending-again", errorText(error)) : t("sending"));
  return el("p", { class: "fate error small" }, `${t("not-sent")} ${errorText(error)} `,
    el("button", { type: "button", class: "quiet", "data-action": "retry", onclick: () => acts.retry(clientId) }, t("try-again")),
    el("button", { type: "button", class: "quiet", onclick: () => acts.discard(clientId) }, t("discard")));
}
