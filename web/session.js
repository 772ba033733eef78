// Owns who is signed in: the tokens, where they are kept, and getting a new access token in time.
// The hub's own users have a refresh token, kept for all tabs; the token of an app is kept for its tab and cannot be renewed.

import { ApiError, call } from "./http.js";

const REFRESH = "hubbub.refresh";
const APP_TOKEN = "hubbub.app-token";
const NOTE = "hubbub.note";
const EARLY_MS = 15_000;

/** The tokens are no longer good: nothing helps but signing in again. */
export class SignedOut extends Error {}

/** Storage may be switched off in the browser; the page then works until it is closed. */
function keep(storage, name, value) {
  try {
    if (value === null) window[storage].removeItem(name);
    else window[storage].setItem(name, value);
  } catch {
    // Nothing to do.
  }
}

function kept(storage, name) {
  try {
    return window[storage].getItem(name);
  } catch {
    return null;
  }
}

/** How long a token lives by its own claims. Only the span is used, so that a wrong clock here does no harm. */
function lifetimeMs(token) {
  try {
    const claims = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    const seconds = claims.exp - claims.iat;
    return seconds > 0 ? seconds * 1000 : 240_000;
  } catch {
    return 240_000;
  }
}

export class Session {
  #access = null;
  #refresh = kept("localStorage", REFRESH);
  #until = 0;
  #renewing = null;

  constructor() {
    const appToken = kept("sessionStorage", APP_TOKEN);
    if (appToken) {
      this.#refresh = null;
      this.#hold(appToken);
    }
    // Signing out in one tab signs out the others.
    window.addEventListener("storage", (event) => {
      if (event.key === REFRESH && event.newValue === null && this.#refresh) this.end();
    });
  }

  get present() {
    return Boolean(this.#access || this.#refresh);
  }

  /** What the page had to say when it last went back to the sign-in; told once. */
  takeNote() {
    const note = kept("sessionStorage", NOTE);
    keep("sessionStorage", NOTE, null);
    return note;
  }

  signIn(username, password) {
    return this.#enter("/api/token/", { username, password });
  }

  register(username, password) {
    return this.#enter("/api/register/", { username, password });
  }

  async #enter(address, body) {
    const { access, refresh } = await call("POST", address, { body });
    this.#hold(access);
    this.#refresh = refresh;
    keep("localStorage", REFRESH, refresh);
    keep("sessionStorage", APP_TOKEN, null);
  }

  useAppToken(token) {
    this.#refresh = null;
    this.#hold(token);
    keep("sessionStorage", APP_TOKEN, token);
  }

  #hold(access) {
    this.#access = access;
    const lifetime = lifetimeMs(access);
    this.#until = Date.now() + lifetime - Math.min(EARLY_MS, lifetime / 4);
  }

  /** A token to show to the hub; `renew` if the one at hand was refused or has ended. */
  async access({ renew = false } = {}) {
    if (!this.#refresh) {
      if (renew || !this.#access) throw new SignedOut("The token of your app has ended or is not accepted. Please use a new one.");
      return this.#access;
    }
    if (renew || !this.#access || Date.now() > this.#until) await this.#renew();
    return this.#access;
  }

  /** One renewal at a time, however many ask for it. */
  #renew() {
    this.#renewing ??= this.#askForAccess().finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  async #askForAccess() {
    try {
      const answer = await call("POST", "/api/token/refresh/", { body: { refresh: this.#refresh } });
      this.#hold(answer.access);
      if (answer.refresh) keep("localStorage", REFRESH, (this.#refresh = answer.refresh));
    } catch (error) {
      if (error instanceof ApiError && (error.status === 401 || error.status === 400)) {
        throw new SignedOut("Your session has ended. Please sign in again.");
      }
      throw error;
    }
  }

  /** A call of the API as the user; a token that is refused is renewed once. */
  async call(method, address, body) {
    try {
      return await call(method, address, { body, token: await this.access() });
    } catch (error) {
      if (error instanceof SignedOut) return this.end(error.message);
      if (error.status !== 401) throw error;
    }
    try {
      return await call(method, address, { body, token: await this.access({ renew: true }) });
    } catch (error) {
      if (error instanceof SignedOut) return this.end(error.message);
      throw error;
    }
  }

  /** Forgets everything, by loading the page anew: nothing of one user can be left for the next. Never comes back. */
  end(note = null) {
    // Another tab may have signed in as someone else meanwhile, or this one used an app's token: that is not ours to end.
    if (this.#refresh && kept("localStorage", REFRESH) === this.#refresh) keep("localStorage", REFRESH, null);
    keep("sessionStorage", APP_TOKEN, null);
    keep("sessionStorage", NOTE, note);
    window.location.replace("/");
    return new Promise(() => {});
  }
}
