// Owns the sign-in card: signing in, creating an account, or going on with the token of an app.

import { action, busy, byId, say, show } from "./dom.js";
import { errorText } from "./texts.js";

const FIELDS = ["username", "password"];

function fieldErrors(fields) {
  for (const name of FIELDS) {
    const texts = fields?.[name];
    say(byId(`${name}-error`), Array.isArray(texts) ? texts.join(" ") : texts);
    byId(name).setAttribute("aria-invalid", String(Boolean(texts)));
  }
  FIELDS.map(byId).find((input) => input.getAttribute("aria-invalid") === "true")?.focus();
}

function failed(error) {
  fieldErrors(error.fields);
  const known = FIELDS.some((name) => error.fields?.[name]);
  const others = Object.values(error.fields ?? {}).flat().join(" ");
  say(byId("sign-in-error"), known ? "" : others || errorText(error));
}

/** Shows the card; `entered` is called once the session has a token. */
export function showEntrance(session, entered) {
  const form = byId("sign-in");
  show(byId("entrance"));
  say(byId("sign-in-error"), session.takeNote());

  const enter = (how) => {
    const values = Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));
    const missing = FIELDS.filter((name) => values[name] === "");
    say(byId("sign-in-error"), "");
    fieldErrors(Object.fromEntries(missing.map((name) => [name, `Please enter a ${name}.`])));
    if (missing.length) return;
    busy(form, async () => {
      await session[how](values.username, values.password);
      leave();
    }, failed);
  };

  const leave = () => {
    form.reset();
    byId("use-token").reset();
    show(byId("entrance"), false);
    entered();
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    enter("signIn");
  });
  action("register").addEventListener("click", () => enter("register"));
  byId("use-token").addEventListener("submit", (event) => {
    event.preventDefault();
    // Pasted tokens come with line breaks, quotes or the header's word in front.
    const token = byId("token").value.replace(/^\s*Bearer\s+/i, "").replace(/[\s"']/g, "");
    if (!token) return;
    session.useAppToken(token);
    leave();
  });
}
