// Owns the language of a page (English or Korean) and how it writes names, numbers and times. A page's texts are two modules,
// en.js and ko.js, of which one is loaded: texts by key, functions where something is filled in. What stands in the HTML is
// English; ko.js has it by the key in data-t (its text) or in data-t-ATTRIBUTE.

const KEY = "hubbub.language";
const ATTRIBUTES = ["placeholder", "aria-label", "title"];

function chosen() {
  try {
    const kept = localStorage.getItem(KEY);
    if (kept) return kept;
  } catch {
    // Storage may be switched off.
  }
  return navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag === "en" || tag === "ko") ?? "en";
}

export const language = chosen() === "ko" ? "ko" : "en";

let texts = {};

/** Takes a page's texts and writes them into its HTML. */
export function speak(given) {
  texts = given;
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-t]")) {
    if (language === "en") texts[node.dataset.t] ??= node.textContent;
    else node.textContent = t(node.dataset.t);
  }
  if (language === "en") return;
  for (const name of ATTRIBUTES) {
    for (const node of document.querySelectorAll(`[data-t-${name}]`)) node.setAttribute(name, t(node.getAttribute(`data-t-${name}`)));
  }
}

/** The text of a key. */
export function t(key, ...filled) {
  const text = texts[key];
  return typeof text === "function" ? text(...filled) : text ?? key;
}

/** Makes a button change the language, by loading the page anew. */
export function languageButton(button) {
  const other = language === "ko" ? "en" : "ko";
  button.textContent = { en: "English", ko: "한국어" }[other];
  button.lang = other;
  button.addEventListener("click", () => {
    try {
      localStorage.setItem(KEY, other);
    } catch {
      return;
    }
    location.reload();
  });
}

/** A sentence for an error: by its code, else the hub's own words. */
export function errorText(error) {
  return texts.errors?.[error?.code] ?? (error?.message || t("wrong"));
}

/** What the hub says in words of its own, in the reader's language where the page knows it. */
export const ownText = (text) => Object.entries(texts.own ?? {}).find(([part]) => text.includes(part))?.[1] ?? text;

/** A name as people can see it: one of nothing visible gives way to the id. */
export const visible = (name, id) => (/[^\p{C}\p{Z}\p{M}\u115f\u1160\u3164\uffa0\u2800]/u.test(name ?? "") ? name : id);

/** The reader's own ways to write times, such as those of en-GB, where the language is theirs. */
export const locale = navigator.languages.find((tag) => tag.slice(0, 2) === language) ?? language;
const format = (options) => new Intl.DateTimeFormat(locale, options);
const clock = format({ hour: "2-digit", minute: "2-digit" });
const shortDay = format({ day: "numeric", month: "short" });
const longDay = format({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
const full = format({ dateStyle: "full", timeStyle: "medium" });
const written = (how) => (timestamp) => (Number.isNaN(Date.parse(timestamp)) ? "" : how(new Date(timestamp)));
const isToday = (date) => date.toDateString() === new Date().toDateString();

// All in the reader's zone.
export const timeText = written((date) => clock.format(date));
export const fullTimeText = written((date) => full.format(date));
export const dayText = written((date) => (isToday(date) ? t("today") : longDay.format(date)));
export const recentText = written((date) => (isToday(date) ? clock : shortDay).format(date));
export const numberText = (number) => new Intl.NumberFormat(locale).format(number);
