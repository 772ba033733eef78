// Owns finding web addresses in what people wrote. Only http and https, shown exactly as they were written, and none that hides where
// it leads: control and direction characters end an address, and one with a user name in it (https://bank.com@evil.com) stays text.

import { el } from "../shared/dom.js";

const ADDRESS = /https?:\/\/[^\s<>"`{}|\\^\p{C}\u115f\u1160\u3164]+/giu;
const TRAILING = /[.,!?;:'"*_~…。、」』”’]+$/u;
const PAIRS = { ")": "(", "]": "[" };

/** What ends a sentence or closes a bracket that was opened before the address does not belong to it. */
function trimmed(found) {
  for (let text = found; ; ) {
    let next = text.replace(TRAILING, "");
    const open = PAIRS[next.at(-1)];
    if (open && next.split(next.at(-1)).length > next.split(open).length) next = next.slice(0, -1);
    if (next === text) return text;
    text = next;
  }
}

function safe(text) {
  try {
    const { protocol, username, password } = new URL(text);
    return (protocol === "http:" || protocol === "https:") && !username && !password;
  } catch {
    return false;
  }
}

/** The text as nodes, with its addresses as links. */
export function linked(text) {
  const nodes = [];
  let from = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const address = trimmed(found);
    if (!safe(address)) continue;
    nodes.push(text.slice(from, index), el("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, address));
    from = index + address.length;
  }
  return [...nodes, text.slice(from)];
}
