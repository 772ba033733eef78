// Owns the sign-in card of both pages: signing in, creating an account, or going on with the token of an app.

import { action, busy, byId, say, show } from "./dom.js";
import { errorText, ownText, t } from "./language.js";
import { accounts, takeNote, useAppToken } from "./session.js";

const FIELDS = ["username", "password"];

function fieldErrors(fields) {
  for (const name of FIELDS) {
    const texts = fields?.[name];
    say(byId(`${name}-error`), Array.isArray(texts) ? texts.map(ownText).join(" ") : texts);
    byId(name).setAttribute("aria-invalid", String(Boolean(texts)));
  }
  FIELDS.map(byId).find((input) => input.getAttribute("aria-invalid") === "true")?.focus();
}

function failed(error) {
  fieldErrors(error.fields);
  const known = FIELDS.some((name) => error.fields?.[name]);
  const others = Object.values(error.fields ?? {}).flat().join(" ");
  say(byId("sign-in-error"), known ? "" : others || (error.status === 401 ? t("no-such-account") : errorText(error)));
}

/** Makes the buttons of the card that take a name and a password do so: `how(username, password)` by the button's action. */
export function takeCredentials(ways, entered) {
  const form = byId("sign-in");
  const enter = (how) => {
    const values = Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));
    const missing = FIELDS.filter((name) => values[name] === "");
    say(byId("sign-in-error"), "");
    fieldErrors(Object.fromEntries(missing.map((name) => [name, t(`no-${name}`)])));
    if (missing.length) return;
    busy(form, async () => {
      await how(values.username, values.password);
      form.reset();
      entered();
    }, failed);
  };
  const [first, ...others] = Object.entries(ways);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    enter(first[1]);
  });
  // The console offers no registration.
  for (const [name, how] of others) action(name)?.addEventListener("click", () => enter(how));
}

/** Shows the card; calls `entered` once somebody is signed in. */
export function enter(entered) {
  const entrance = byId("entrance");
  let left = false;
  const leave = () => {
    // A slow registration may end when a token has been used already.
    if (left) return;
    left = true;
    show(entrance, false);
    entered(null);
  };
  show(entrance);
  say(byId("sign-in-error"), takeNote());
  takeCredentials({
    "sign-in": (name, password) => accounts.signIn(name, password),
    register: (name, password) => accounts.register(name, password),
  }, leave);
  byId("use-token").addEventListener("submit", (event) => {
    event.preventDefault();
    // Pasted tokens come with line breaks, quotes or the header's word in front.
    const token = byId("token").value.replace(/["']/g, "").replace(/^\s*Bearer\s+/i, "").replace(/\s/g, "");
    if (!token) return;
    byId("use-token").reset();
    useAppToken(token);
    leave();
  });
}
