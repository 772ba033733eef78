// The console in Debian's Chromium against the real hub: becoming the admin, charts and figures under traffic, tables, and what an
// admin does, whose effect another person's chat page shows.

import assert from "node:assert/strict";
import { test } from "node:test";
import WebSocket from "ws";
import { Hubbub } from "../../web/client/hubbub.js";
import { accessible, DESKTOP, enterRoom, live, person, PHONE, say, sees, stage, visit, withToken } from "./browser.js";
import { Hub, token, until } from "./hub.js";

const EVIL = `<img src=x onerror="document.title='owned'">\u202e%_'"`;
const on = stage({ "limits.commands_per_second": 1_000, "limits.commands_burst": 1_000, "limits.new_rooms_per_hour": 1_000 });

const setUpLink = (of) => until("the set-up link", () => of.said.map((line) => line.match(/http:\/\/\S+#setup=\S+/)?.[0]).find(Boolean));
const console_ = (page) => page.waitForSelector("#console:visible");

async function open(section = "", options = {}) {
  const page = await visit(on.browser, on.hub.url, { path: "/admin", ...options });
  await page.click("summary");
  await page.fill("#token", token("root"));
  await page.click("[data-action=use-token]");
  await console_(page);
  if (section) await page.click(`nav a[href="#${section}"]`);
  return page;
}

const rows = (page, section) => page.locator(`#section-${section} tbody tr`);
async function search(page, section, text) {
  await page.fill(`#section-${section} [type=search]`, text);
}
async function confirm(page, fields = {}) {
  for (const [name, value] of Object.entries(fields)) await page.fill(`#act [name=${name}]`, value);
  await page.click("#act [data-action=do]");
  await page.locator("#act").waitFor({ state: "hidden" });
}

test("the set-up link makes the first admin, once, and its token stays nowhere", async () => {
  const link = await setUpLink(on.hub);
  const page = await visit(on.browser, "", { path: link });
  await page.getByText("Make the first admin").waitFor();
  assert.equal(new URL(page.url()).hash, "");
  assert.equal(await page.evaluate(() => history.length), 2, "about:blank and the console, without the token");
  await page.fill("#username", "first");
  await page.fill("#password", "short");
  await page.click("[data-action=sign-in]");
  await page.getByText("This password is too short").waitFor();
  await accessible(page, "the set-up");
  await page.fill("#password", "correct horse");
  await page.click("[data-action=sign-in]");
  await console_(page);
  await page.getByText("All is well.").waitFor();
  await page.click('nav a[href="#record"]');
  await rows(page, "record").getByText("hub:first").first().waitFor();
  // They are signed in on the chat page too.
  await page.goto(on.hub.url);
  await live(page);
  const second = await visit(on.browser, "", { path: link });
  await second.fill("#username", "second");
  await second.fill("#password", "correct horse");
  await second.click("[data-action=sign-in]");
  await second.getByText("This link is used up or too old, or there is an admin already.").waitFor();
  on.hub.command("user", "admin", "root");
});

test("who is no admin is told so and sees nothing", async () => {
  const page = await visit(on.browser, on.hub.url, { path: "/admin" });
  assert.ok(await page.locator("[data-action=register]").count() === 0);
  await page.click("summary");
  await page.fill("#token", token("nobody"));
  await page.click("[data-action=use-token]");
  await page.getByText("You are signed in as nobody, who is no admin").waitFor();
  assert.ok(await page.locator("#console").isHidden());
  await page.locator("#gate [data-action=sign-out]").click();
  await page.waitForSelector("#sign-in:visible");
});

test("charts and figures follow the traffic; what is busy, refused and full is shown", async (t) => {
  const page = await open();
  const figure = (name) => page.locator(`[data-chart=${name}] .figure`).textContent();
  const path = (name) => page.locator(`[data-chart=${name}] .line`).getAttribute("d");
  await until("a first point", async () => (await path("sessions")) !== "");
  const before = await path("messages_per_s");
  const clients = Array.from({ length: 12 }, (_, n) => new Hubbub(on.hub.url, { token: () => token(`chart${n}`), WebSocket }).connect());
  t.after(() => clients.forEach((client) => client.close()));
  await Promise.all(clients.map((client) => client.room("charted").join()));
  let sent = 0;
  const timer = setInterval(() => {
    clients[sent % 12].room("charted").send(sent % 10 ? `message ${sent}` : " ").catch(() => {});
    sent += 1;
  }, 25);
  t.after(() => clearInterval(timer));
  await until("messages a second", async () => parseFloat(await figure("messages_per_s")) > 10, 20_000);
  assert.ok(parseFloat(await figure("sessions")) >= 12);
  assert.ok(parseFloat(await figure("deliveries_per_s")) > 100);
  assert.match(await figure("commit_p99_us"), /^[\d.]+ (µs|ms)$/);
  assert.match(await figure("delivery_p99_us"), /^[\d.]+ (µs|ms)$/);
  assert.notEqual(await path("messages_per_s"), before, "the line has grown");
  await page.locator("#busiest li", { hasText: "charted" }).getByText(/\d+ in the last minute, 12 connected/).waitFor();
  await page.locator("#errors li", { hasText: "empty" }).waitFor();
  assert.equal(await page.locator("#queues li").count(), 8);
  await page.locator("#queues li", { hasText: "Messages to be stored" }).getByText(/ of 10k$/).waitFor();
  assert.equal(await page.locator("#nodes tr").count(), 1);
  // Under the pointer and by the keyboard a point is read out.
  await page.locator("[data-chart=messages_per_s] svg").hover();
  await page.locator("[data-chart=messages_per_s] .readout", { hasText: "/s" }).waitFor();
  await page.locator("[data-chart=sessions] svg").focus();
  await page.keyboard.press("ArrowLeft");
  await page.locator("[data-chart=sessions] .readout").waitFor();
  assert.match(await page.locator("[data-chart=sessions] svg").getAttribute("aria-label"), /^Connections: now \d+; at least \d+, at most \d+/);
  clearInterval(timer);
  clients.forEach((client) => client.close());
  await until("nobody is connected", async () => (await on.hub.api("root", "GET", "/api/admin/stats")).sessions.total === 0);
  await until("and the chart says so", async () => (await figure("sessions")) === "0", 20_000);
  // The last hour is the hub's, not the page's: it is there after a reload.
  await page.reload();
  await until("the line is back", async () => ((await path("messages_per_s")) ?? "").split("L").length > 3);
});

test("a queue that is nearly full and a database that is away raise the alarm", async (t) => {
  const own = await Hub.start({ "limits.writer_queue": 4, "database.write_timeout": "4s" }, t);
  own.command("user", "admin", "root");
  await Promise.all(["a", "b", "c", "d"].map((user) => own.api(user, "POST", "/api/rooms/full/messages", { message: "first" })));
  const page = await withConsole(own);
  const release = await own.lock();
  t.after(release);
  const waiting = ["a", "b", "c", "d"].map((user) => own.api(user, "POST", "/api/rooms/full/messages", { message: "waits" }).catch(() => {}));
  await page.getByText("Nearly full: Messages to be stored.").waitFor();
  await page.locator("#queues .alarm", { hasText: "4 of 4" }).waitFor();
  await page.getByText(/Not ready: messages cannot be stored/).waitFor({ timeout: 20_000 });
  await release();
  await Promise.all(waiting);
  await page.getByText("All is well.").waitFor({ timeout: 20_000 });
});

async function withConsole(own) {
  const page = await visit(on.browser, own.url, { path: "/admin" });
  await page.click("summary");
  await page.fill("#token", token("root"));
  await page.click("[data-action=use-token]");
  await console_(page);
  return page;
}

test("rooms, users and sessions are found by what one types, and hostile names are text", async (t) => {
  const evil = new Hubbub(on.hub.url, { token: () => token("evil-1", { name: EVIL }), WebSocket }).connect();
  const minji = new Hubbub(on.hub.url, { token: () => token("minji", { name: "김민지" }), WebSocket }).connect();
  t.after(() => [evil, minji].forEach((client) => client.close()));
  await evil.room("market").join();
  await minji.room("market").join();
  await on.hub.api("root", "POST", "/api/rooms", { name: "korean-room", title: "한국어 방 100%" });
  await on.hub.api("root", "POST", "/api/rooms", { name: "plain-room", title: EVIL });
  for (const [section, finds] of [
    ["sessions", [["민지", 1, "김민지"], ["EVIL-1", 1, EVIL], ["%", 1, EVIL], ["nobody like this", 0]]],
    ["users", [["민지", 1, "김민지"], ["evil-1", 1, EVIL], ["_'\"", 1, EVIL], ["%%", 0]]],
    ["rooms", [["한국어", 1, "한국어 방 100%"], ["100%", 1, "한국어 방 100%"], ["<img", 1, EVIL], ["\\", 0]]],
  ]) {
    const page = await open(section);
    for (const [q, count, shown] of finds) {
      await search(page, section, q);
      await until(`${section}: ${q}`, async () => (await rows(page, section).count()) === count);
      if (count) await rows(page, section).getByText(shown, { exact: true }).waitFor();
      else await page.locator(`#section-${section} .state`, { hasText: "Nothing is found." }).waitFor();
    }
    // What is searched for is in the address.
    await search(page, section, "ro");
    await until("the address", () => page.url().endsWith(`#${section}?q=ro`));
    assert.ok(!(await page.title()).includes("owned"));
  }
  // More than a page.
  await Promise.all(Array.from({ length: 70 }, (_, n) => on.hub.api("root", "POST", "/api/rooms", { name: `many-${n}` })));
  const page = await open("rooms");
  await search(page, "rooms", "many-");
  await until("a page of those", async () => (await rows(page, "rooms").filter({ hasText: "many-" }).count()) === 50);
  await page.locator("#section-rooms [data-action=more]").click();
  await until("all of them", async () => (await rows(page, "rooms").count()) === 70);
});

test("close, disable, enable, revoke, ban: done here, felt there", async () => {
  await on.hub.api("root", "POST", "/api/rooms", { name: "court" });
  const accused = await withToken(on.browser, on.hub.url, token("accused"));
  await enterRoom(accused, "court");
  const page = await open("sessions");
  await search(page, "sessions", "accused");
  await until("their session alone", async () => (await rows(page, "sessions").count()) === 1);
  await rows(page, "sessions").getByRole("button", { name: "Close" }).click();
  // Nothing is done before it is confirmed.
  await page.getByText("The connection of accused is closed, and does not come back by itself.").waitFor();
  await page.locator("#act [data-action=cancel]").click();
  assert.equal(await accused.getAttribute("body", "data-connection"), "live");
  await rows(page, "sessions").getByRole("button", { name: "Close" }).click();
  await confirm(page);
  await accused.getByText("Disconnected: an admin closed this session.").waitFor();
  await until("it is gone from the table", async () => (await rows(page, "sessions").count()) === 0);
  await accused.getByRole("button", { name: "Connect again" }).click();
  await live(accused);

  await page.click('nav a[href="#users"]');
  await search(page, "users", "accused");
  await until("one user", async () => (await rows(page, "users").count()) === 1);
  await rows(page, "users").getByRole("button", { name: "Disable" }).click();
  await confirm(page, { reason: "to be looked into" });
  await page.getByText("accused is disabled.").waitFor();
  await accused.getByText("Disconnected: your access was withdrawn.").waitFor();
  await rows(page, "users").getByText("disabled", { exact: true }).waitFor();
  await rows(page, "users").getByRole("button", { name: "Enable" }).click();
  await confirm(page);
  await rows(page, "users").getByRole("button", { name: "Disable" }).waitFor();
  await accused.getByRole("button", { name: "Connect again" }).click();
  await live(accused);

  await page.click('nav a[href="#rooms"]');
  await search(page, "rooms", "court");
  await until("one room", async () => (await rows(page, "rooms").count()) === 1);
  await rows(page, "rooms").getByRole("button", { name: "Ban someone" }).click();
  await page.click("#act [data-action=do]");
  await page.getByText("Please enter a user’s id.").waitFor();
  await page.fill("#act [name=user]", "accused");
  await page.fill("#act [name=reason]", "disorder");
  await page.fill("#act [name=until]", "2031-01-01T12:00");
  await page.click("#act [data-action=do]");
  await page.getByText("accused is banned from court.").waitFor();
  await accused.getByText("You were banned from court: disorder").waitFor();
  const { bans } = await on.hub.api("root", "GET", "/api/rooms/court/bans");
  assert.deepEqual(bans.map(({ user_id, until: end }) => [user_id, end]), [["accused", "2031-01-01T03:00:00.000Z"]], "noon in Seoul");
  await rows(page, "rooms").getByRole("button", { name: "Lift a ban" }).click();
  await page.locator("#act-banned option", { hasText: "accused · accused · disorder" }).waitFor({ state: "attached" });
  await confirm(page);
  assert.deepEqual((await on.hub.api("root", "GET", "/api/rooms/court/bans")).bans, []);

  await page.click('nav a[href="#users"]');
  await search(page, "users", "accused");
  await until("one user", async () => (await rows(page, "users").count()) === 1);
  await rows(page, "users").getByRole("button", { name: "Revoke tokens" }).click();
  await confirm(page);
  await accused.getByText(/your access was withdrawn|Your session has ended/).waitFor();
  // What the hub refuses is said in the dialog, and nothing is lost there.
  await page.click('nav a[href="#users"]');
  await search(page, "users", "root");
  await rows(page, "users").filter({ hasText: "root" }).first().getByRole("button", { name: "Disable" }).click();
  await page.fill("#act [name=reason]", "myself");
  await page.click("#act [data-action=do]");
  await page.locator("#act .error", { hasText: "You may not do this." }).waitFor();
  assert.equal(await page.inputValue("#act [name=reason]"), "myself");
  await page.keyboard.press("Escape");
  await page.click('nav a[href="#record"]');
  for (const act of ["ban", "disable", "revoke"]) await rows(page, "record").getByText(act).first().waitFor();
});

test("a hub that is gone: said, with what was known left on the screen; then on by itself", async (t) => {
  const own = await Hub.start({}, t);
  own.command("user", "admin", "root");
  const page = await withConsole(own);
  await page.getByText("All is well.").waitFor();
  await until("a point", async () => (await page.locator("[data-chart=resident_bytes] .line").getAttribute("d")) !== "", 20_000);
  await own.end("SIGKILL");
  await page.getByText("The hub cannot be reached. What is shown is the last that was known").waitFor({ timeout: 30_000 });
  assert.match(await page.locator("[data-chart=resident_bytes] .figure").textContent(), /MiB/);
  await own.restart();
  await page.locator("#away").waitFor({ state: "hidden", timeout: 30_000 });
  await page.getByText("All is well.").waitFor();
});

test("Korean: every word; keyboard: each section and an act; axe-core: nothing serious", async () => {
  const talker = await person(on.browser, on.hub.url, "talker");
  await enterRoom(talker, "plaza");
  await say(talker, "hello");
  await sees(talker, "hello");
  const korean = await open("", { locale: "ko-KR" });
  await korean.getByText("모두 정상입니다.").waitFor();
  for (const section of ["overview", "sessions", "users", "rooms", "record"]) {
    await korean.click(`nav a[href="#${section}"]`);
    await korean.waitForTimeout(300);
    const latin = await korean.evaluate(() => {
      const walker = document.createTreeWalker(document.getElementById("console"), NodeFilter.SHOW_TEXT);
      const words = [];
      while (walker.nextNode()) {
        const { parentElement, textContent } = walker.currentNode;
        // What people and the hub named is as it is.
        if (!parentElement.closest("bdi, code, noscript") && parentElement.checkVisibility()) words.push(textContent.trim());
      }
      return words.filter((text) => /[A-Za-z]{4,}/.test(text));
    });
    assert.deepEqual(latin.filter((text) => text !== "native" && text !== "plain"), [], `${section}: not in Korean`);
  }
  const page = await open();
  await page.focus("#console nav a");
  for (const section of ["overview", "sessions", "users", "rooms", "record"]) {
    await page.keyboard.press("Enter");
    await page.locator(`#section-${section}`).waitFor();
    await page.keyboard.press("Tab");
  }
  await page.goBack();
  await page.locator("#section-rooms").waitFor();
  await page.click('nav a[href="#sessions"]');
  await rows(page, "sessions").first().waitFor();
  await page.focus("#section-sessions [data-action=reload]");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator("#act[open]").waitFor();
  await accessible(page, "an act");
  await page.keyboard.press("Escape");
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const size of [DESKTOP, PHONE]) {
      await page.setViewportSize(size);
      for (const section of ["overview", "sessions", "users", "rooms", "record"]) {
        await page.evaluate((name) => (location.hash = name), section);
        await page.waitForTimeout(250);
        await accessible(page, `${section}, ${colorScheme}, ${size.width} px`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(wide <= 0, `${section} is ${wide} px too wide at ${size.width} px`);
      }
    }
  }
});
