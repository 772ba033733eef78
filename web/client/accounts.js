// Owns the hub's own accounts, for apps without users of their own: signing in, and access tokens from a refresh token that is
// kept where the app says. `accounts.token` is what a Hubbub takes as its `token`.

import { HubError, SignedOut } from "./errors.js";
import { call } from "./http.js";

/** A new access token is asked for so long before the old one ends, or after three quarters of its life. */
const EARLY_MS = 15_000;

/** How long a token lives by its own claims. Only the span is used, so that a wrong clock here does no harm. */
function lifetimeMs(token) {
  try {
    const { exp, iat } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    return exp > iat ? (exp - iat) * 1_000 : 240_000;
  } catch {
    return 240_000;
  }
}

export class Accounts {
  #address;
  #fetch;
  #storage;
  #key;
  #access = null;
  #until = 0;
  #refresh = null;
  #renewing = null;

  /** `storage` (such as localStorage) keeps the refresh token under `key`; without it, it is forgotten with the page. */
  constructor(address, { storage = null, key = "hubbub.refresh", fetch } = {}) {
    this.#address = address.replace(/\/+$/, "");
    this.#fetch = fetch;
    this.#storage = storage;
    this.#key = key;
    this.#refresh = this.kept;
  }

  /** The refresh token as the storage has it now: another tab may have changed it. */
  get kept() {
    try {
      return this.#storage?.getItem(this.#key) ?? null;
    } catch {
      return null; // Storage may be switched off in a browser.
    }
  }

  get signedIn() {
    return this.#refresh !== null;
  }

  signIn(username, password) {
    return this.#enter("/api/token", { username, password });
  }

  register(username, password) {
    return this.#enter("/api/register", { username, password });
  }

  /** Makes the first admin, with the token of the set-up link that the hub printed at its start. */
  setUp(token, username, password) {
    return this.#enter("/api/setup", { token, username, password });
  }

  /** Forgets the tokens; what another tab has signed in with since is not ours to forget. */
  signOut() {
    if (this.kept === this.#refresh) this.#keep(null);
    this.#refresh = this.#access = this.#renewing = null;
  }

  /** An access token; `renew` where the one at hand was refused or has ended. */
  token = async ({ renew = false } = {}) => {
    if (!this.#refresh) throw new SignedOut();
    if (renew || !this.#access || Date.now() > this.#until) {
      // One renewal at a time, however many ask for it.
      const renewing = (this.#renewing ??= this.#renew(this.#refresh));
      try {
        await renewing;
      } finally {
        if (this.#renewing === renewing) this.#renewing = null;
      }
    }
    if (!this.#access) throw new SignedOut();
    return this.#access;
  };

  async #enter(path, body) {
    const { access, refresh } = await this.#post(path, body);
    this.#renewing = null;
    this.#hold(access);
    this.#refresh = refresh;
    this.#keep(refresh);
  }

  /** Renews; where somebody else has signed in meanwhile, what comes of it is nobody's. */
  async #renew(refresh) {
    try {
      const { access } = await this.#post("/api/token/refresh", { refresh });
      if (refresh === this.#refresh) this.#hold(access);
    } catch (error) {
      if (refresh !== this.#refresh) return;
      if (error instanceof HubError && (error.status === 401 || error.status === 400)) throw new SignedOut();
      throw error;
    }
  }

  #post(path, body) {
    return call("POST", this.#address + path, { body, fetch: this.#fetch });
  }

  #hold(access) {
    const lifetime = lifetimeMs(access);
    this.#access = access;
    this.#until = Date.now() + lifetime - Math.min(EARLY_MS, lifetime / 4);
  }

  #keep(refresh) {
    try {
      if (refresh === null) this.#storage?.removeItem(this.#key);
      else this.#storage?.setItem(this.#key, refresh);
    } catch {
      // As above.
    }
  }
}
