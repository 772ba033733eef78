// Owns who is signed in on this browser's pages: the hub's own users by a refresh token, kept for all tabs; an app's token is kept
// for its tab and cannot be renewed. Signing out loads the page anew, so that nothing of one user can be left for the next.

import { Accounts, Hubbub } from "../client/hubbub.js";

const APP_TOKEN = "hubbub.app-token";
const NOTE = "hubbub.note";

/** Where storage is switched off or full: until the page goes. */
const memory = new Map();

/** What is kept for this tab: gives it, or sets it, or forgets it (null). */
export function tab(name, value) {
  try {
    if (value === undefined) return memory.get(name) ?? sessionStorage.getItem(name);
    memory.delete(name);
    if (value === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, value);
  } catch {
    if (value === undefined) return null;
    memory.set(name, value);
  }
  return value;
}

function storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

export const address = location.origin;
export const accounts = new Accounts(address, { storage: storage() });

export const present = () => Boolean(tab(APP_TOKEN)) || accounts.signedIn;

export function useAppToken(token) {
  tab(APP_TOKEN, token);
}

/** What the page had to say when it last went back to the sign-in; told once. */
export function takeNote() {
  const note = tab(NOTE);
  tab(NOTE, null);
  return note;
}

/** A client for whoever is signed in. */
export function newHub() {
  const appToken = tab(APP_TOKEN);
  // Signing out in one tab signs out the others.
  window.addEventListener("storage", () => !appToken && accounts.kept === null && end());
  return new Hubbub(address, { token: appToken ?? accounts.token });
}

/** Forgets who is signed in; `note` is shown on the sign-in. */
export function end(note = null) {
  if (!tab(APP_TOKEN)) accounts.signOut();
  tab(APP_TOKEN, null);
  tab(NOTE, note);
  location.reload();
}
