// Owns the line that says how the connection is: nothing while all is well; else what is wrong, in words, with what one can do.

import { action, announce, byId, show } from "../shared/dom.js";
import { t } from "../shared/language.js";

/** Coming back quickly is not worth a word. */
const PATIENCE_MS = 700;

export function showState(hub, refused) {
  const banner = byId("banner");
  const [line, button] = [byId("banner-text"), action("reconnect")];
  let timer = null;
  let wasDown = false;
  button.addEventListener("click", () => (hub.state.name === "closed" ? hub.connect() : hub.retryNow()));

  const draw = () => {
    const { name, retryAt, asked, code, reason } = hub.state;
    const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1_000));
    const text = {
      connecting: t("connecting"), catching_up: t("catching-up"), live: "",
      offline: t(asked ? "restarting" : navigator.onLine ? "offline" : "no-network", seconds), closed: t("closed", code, reason),
    }[name];
    if (line.textContent !== text) line.textContent = text;
    show(button, name === "closed" || (name === "offline" && !asked));
    button.textContent = t(name === "closed" ? "connect-again" : "try-now");
    show(banner, text !== "");
  };
  hub.on("state", ({ name, code, reason }) => {
    document.body.dataset.connection = name;
    if (name === "closed" && (reason === "signed_out" || code === 4500)) return refused();
    clearInterval(timer);
    if (name === "live") {
      if (wasDown) announce(t("live"));
      wasDown = false;
      return draw();
    }
    const wait = banner.hidden && name !== "closed" ? PATIENCE_MS : 0;
    timer = setTimeout(() => {
      if (!wasDown && name === "offline") announce(t("lost"));
      wasDown ||= name === "offline";
      draw();
      timer = setInterval(draw, 500);
    }, wait);
  });
}
