// What people wrote on the chat page is kept, comes back where it can't be sent, and is nobody else's to see.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connection, enterRoom, live, person, say, sees, stage, UNLIMITED, visit, withToken } from "./browser.js";
import { token, until } from "./hub.js";
import { Relay } from "./relay.js";

const on = stage(UNLIMITED, (hub) => hub.command("user", "admin", "root"));

const texts = async (user, room) => (await on.hub.api(user, "GET", `/api/rooms/${room}/messages?limit=100`)).messages.map(({ message }) => message);
const draft = (page) => page.inputValue("#composer");

/** Somebody in a room, over a wire that is cut then. */
async function offline(t, user, room) {
  const relay = await Relay.to(on.hub.port, t);
  const page = await withToken(on.browser, relay.url, token(user));
  await enterRoom(page, room);
  relay.cut({ refusing: true });
  await connection(page, "offline");
  const back = async () => {
    relay.refusing = false;
    await page.evaluate(() => window.dispatchEvent(new Event("online")));
    await live(page);
  };
  return { page, relay, back };
}

test("banned while offline: it is said why, and what was written is a draft", async (t) => {
  await on.hub.api("root", "POST", "/api/rooms", { name: "club" });
  const { page, back } = await offline(t, "banned-one", "club");
  await say(page, "the first");
  await say(page, "the second");
  await on.hub.api("root", "PUT", "/api/rooms/club/bans/banned-one", { reason: "spam" });
  await back();
  await page.getByText(/You were banned from club.*kept as a draft there/).waitFor();
  await on.hub.api("root", "DELETE", "/api/rooms/club/bans/banned-one");
  await enterRoom(page, "club");
  assert.equal(await draft(page), "the first\nthe second");
  assert.deepEqual(await texts("root", "club"), []);
});

test("a page that is loaded anew sends what it had, each room's in order, also to a room that is in no list", async (t) => {
  const { page, relay } = await offline(t, "reloader", "brand-new");
  const written = Array.from({ length: 6 }, (_, n) => `line ${n + 1}`);
  for (const text of written) await say(page, text);
  // Joining takes its time, and the other rooms go on meanwhile.
  relay.lump = 150;
  relay.refusing = false;
  await page.reload();
  await live(page);
  await until("all are stored", async () => (await texts("root", "brand-new").catch(() => [])).length === written.length);
  assert.deepEqual(await texts("root", "brand-new"), written);
  await page.reload();
  await live(page);
  await page.waitForTimeout(500);
  assert.deepEqual(await texts("root", "brand-new"), written, "once");
});

test("a page that is loaded anew and let in no more gives the text back", async (t) => {
  await on.hub.api("root", "POST", "/api/rooms", { name: "closed", kind: "private" });
  await on.hub.api("root", "PUT", "/api/rooms/closed/members/outcast", {});
  const { page, relay } = await offline(t, "outcast", "closed");
  await say(page, "too late");
  await on.hub.api("root", "DELETE", "/api/rooms/closed/members/outcast");
  relay.refusing = false;
  await page.reload();
  await live(page);
  await page.getByText(/Not sent to closed: .* It is a draft there again\./).waitFor();
  await on.hub.api("root", "PUT", "/api/rooms/closed/members/outcast", {});
  await page.locator("[data-room=closed]").waitFor();
  await page.click("[data-room=closed] a");
  await page.waitForSelector("#composer:visible");
  assert.equal(await draft(page), "too late");
});

test("one message too many is not taken, and not lost", async (t) => {
  const { page } = await offline(t, "flooder", "flood");
  await page.evaluate(() => {
    const box = document.getElementById("composer");
    for (let n = 1; n <= 1_001; n += 1) {
      box.value = `message ${n}`;
      box.dispatchEvent(new Event("input"));
      box.form.requestSubmit();
    }
  });
  await page.getByText(/Not sent to flood: The hub is busy/).waitFor();
  assert.equal(await draft(page), "message 1001");
});

test("a draft is its writer's: kept over a reload, and not shown to whoever signs in next", async () => {
  const page = await person(on.browser, on.hub.url, "drafter");
  await enterRoom(page, "lobby");
  await say(page, "hello");
  await page.locator("[data-room=lobby] .line-preview", { hasText: "hello" }).waitFor();
  await page.fill("#composer", "nobody's business");
  await page.reload();
  await live(page);
  await page.waitForSelector("#composer:visible");
  assert.equal(await draft(page), "nobody's business");
  await page.click("[data-action=sign-out]");
  await page.fill("#username", "next");
  await page.fill("#password", "correct horse");
  await page.click("[data-action=register]");
  await live(page);
  await enterRoom(page, "lobby");
  assert.equal(await draft(page), "");
});

test("where the browser keeps nothing a draft lasts over a change of rooms", async () => {
  const page = await visit(on.browser, on.hub.url);
  await page.addInitScript(() => {
    for (const name of ["localStorage", "sessionStorage"]) {
      Object.defineProperty(window, name, { get() {
        throw new DOMException("denied", "SecurityError");
      } });
    }
  });
  await page.reload();
  await page.fill("#username", "no-storage");
  await page.fill("#password", "correct horse");
  await page.click("[data-action=register]");
  await live(page);
  await enterRoom(page, "one");
  await page.fill("#composer", "half");
  await enterRoom(page, "two");
  await page.evaluate(() => (location.hash = "#room=one"));
  await page.locator("#room-title", { hasText: "one" }).waitFor();
  assert.equal(await draft(page), "half");
});

test("a room that was left while the list was on its way stays left", async () => {
  const page = await withToken(on.browser, on.hub.url, token("leaver"));
  await on.hub.api("root", "POST", "/api/rooms", { name: "leave-me" });
  await on.hub.api("root", "PUT", "/api/rooms/leave-me/members/leaver", {});
  await enterRoom(page, "leave-me");
  await page.locator("[data-room=leave-me]").waitFor();
  let held = null;
  await page.route("**/api/me/rooms*", async (route) => {
    const response = await route.fetch();
    // The first answer is of before the departure, and comes after it.
    if (!held) await new Promise((go) => (held = go));
    await route.fulfill({ response });
  });
  await on.hub.api("root", "POST", "/api/rooms", { name: "join-me" });
  await on.hub.api("root", "PUT", "/api/rooms/join-me/members/leaver", {});
  await until("the list is on its way", () => held);
  await page.click("[data-action=details]");
  await page.click("[data-action=leave]");
  await page.click("[data-action=leave]");
  await page.getByText("You have left leave-me.").waitFor();
  await page.evaluate(() => {
    window.seen = new Set();
    new MutationObserver(() => document.querySelectorAll("#rooms li").forEach(({ dataset }) => window.seen.add(dataset.room)))
      .observe(document.getElementById("rooms"), { childList: true, subtree: true });
  });
  held();
  await page.locator("[data-room=join-me]").waitFor();
  await page.waitForTimeout(500);
  assert.deepEqual(await page.evaluate(() => [...window.seen]), ["join-me"]);
  const { users } = await on.hub.api("root", "GET", "/api/rooms/leave-me/presence");
  assert.deepEqual(users.map(({ user_id }) => user_id), []);
});

test("a list without a room before the hub's word on why: the word is what is said", async () => {
  const page = await withToken(on.browser, on.hub.url, token("listed"));
  const member = (room) => on.hub.api("root", "PUT", `/api/rooms/${room}/members/listed`, {});
  await on.hub.api("root", "POST", "/api/rooms", { name: "unlisted" });
  await on.hub.api("root", "POST", "/api/rooms", { name: "another" });
  /** In the room, of which the next list knows nothing. */
  const unlisted = async () => {
    await page.unroute("**/api/me/rooms*");
    await member("unlisted");
    await enterRoom(page, "unlisted");
    await page.route("**/api/me/rooms*", (route) => route.fulfill({ json: { rooms: [], more: false } }));
    const asked = page.waitForResponse("**/api/me/rooms*");
    await on.hub.api("root", "DELETE", "/api/rooms/another/members/listed").catch(() => {});
    await member("another");
    await asked;
  };
  await unlisted();
  await on.hub.api("root", "PUT", "/api/rooms/unlisted/bans/listed", { reason: "just so" });
  await page.getByText("You were banned from unlisted: just so").waitFor();
  await on.hub.api("root", "DELETE", "/api/rooms/unlisted/bans/listed");
  await unlisted();
  // And where no word comes, it goes all the same.
  await page.getByText("You are no longer in unlisted.").waitFor();
});

test("a slow registration and a token at once: one chat", async () => {
  const page = await visit(on.browser, on.hub.url);
  let go;
  await page.route("**/api/register", async (route) => {
    await new Promise((held) => (go = held));
    await route.continue();
  });
  await page.fill("#username", "slowly");
  await page.fill("#password", "correct horse");
  await page.click("[data-action=register]");
  await page.click("summary");
  await page.fill("#token", token("at-once"));
  await page.click("[data-action=use-token]");
  await live(page);
  go();
  await page.waitForTimeout(1_000);
  const { sessions } = await on.hub.api("root", "GET", "/api/admin/sessions");
  assert.deepEqual(sessions.map(({ user_id }) => user_id), ["at-once"]);
  await enterRoom(page, "single");
  await say(page, "once");
  await sees(page, "once");
});

test("a dialog asked for twice while it loads is one: a room is made once", async () => {
  const page = await withToken(on.browser, on.hub.url, token("hasty"));
  let made = 0;
  page.on("request", (request) => (made += request.method() === "POST" && request.url().endsWith("/api/rooms") ? 1 : 0));
  let held = null;
  await page.route("**/dialogs.js", async (route) => {
    await new Promise((go) => (held = go));
    await route.continue();
  });
  await page.click("[data-action=new-room]");
  await until("the dialog is on its way", () => held);
  await page.click("[data-action=new-room]");
  held();
  await page.fill("#new-name", "made-once");
  await page.keyboard.press("Enter");
  await page.locator("#room-title", { hasText: "made-once" }).waitFor();
  assert.equal(made, 1);
});
