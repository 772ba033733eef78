// The chat page under load and faults: rooms that are long or fast, networks, hubs, tokens and databases that go away, people who
// are hostile.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connection, DESKTOP, enterRoom, live, person, PHONE, say, sees, shown, stage, UNLIMITED, withToken } from "./browser.js";
import { Hub, token, until } from "./hub.js";
import { Relay } from "./relay.js";

const on = stage(UNLIMITED, (hub) => hub.command("user", "admin", "root"));

const post = (room, message) => on.hub.api("root", "POST", `/api/rooms/${room}/messages`, { message });
const seqs = async (page) => (await shown(page)).map(([seq]) => seq);
const ascending = (list) => list.every((seq, index) => index === 0 || seq === list[index - 1] + 1);

test("ten thousand messages: loaded upwards without a jump, few of them in the document", async () => {
  const client = await person(on.browser, on.hub.url, "historian");
  await on.hub.api("root", "POST", "/api/rooms", { name: "long" });
  const lines = (n) => (n % 7 === 0 ? `message ${n}\nof\nfour\nlines` : `message ${n} ${"word ".repeat(n % 40)}`);
  for (let n = 1; n <= 10_000; n += 50) await Promise.all(Array.from({ length: 50 }, (_, k) => post("long", lines(n + k))));
  await enterRoom(client, "long");
  await client.locator("#messages li").nth(5).waitFor();
  assert.equal((await seqs(client)).at(-1), 10_000);
  assert.equal((await seqs(client))[0] > 9_900, true);
  // What is in view stays where it is when older messages come above it.
  const spot = () => client.evaluate(() => {
    const frame = document.getElementById("history");
    const { top } = frame.getBoundingClientRect();
    const node = [...document.querySelectorAll("#messages > li")].find((item) => item.getBoundingClientRect().bottom > top + 10);
    return [node.dataset.seq, Math.round(node.getBoundingClientRect().top - top)];
  });
  const oldest = async () => (await seqs(client))[0];
  await client.hover("#history");
  let jumps = 0;
  for (let step = 0; step < 25; step += 1) {
    await client.mouse.wheel(0, -1_500);
    await client.waitForTimeout(60);
    const before = await spot();
    await client.waitForTimeout(120);
    const now = await spot();
    if (before[0] === now[0] && Math.abs(before[1] - now[1]) > 2) jumps += 1;
    assert.ok(ascending(await seqs(client)), "a hole in what is shown");
  }
  assert.equal(jumps, 0, "what was in view jumped");
  const reached = await oldest();
  assert.ok(reached < 9_800, `scrolled back to ${reached} only`);
  // All the way up, by the keyboard's Home: page by page to the first message.
  await client.focus("#history");
  await until("the first message", async () => {
    await client.keyboard.press("Home");
    return (await oldest()) === 1;
  }, 120_000);
  const { nodes, height } = await client.evaluate(() => ({
    nodes: document.querySelectorAll("#messages > li").length, height: document.getElementById("history").scrollHeight,
  }));
  assert.ok(nodes < 120, `${nodes} messages in the document`);
  assert.ok(height > 400_000, `${height} px for ten thousand messages`);
  // Scrolling through them is smooth: no frame takes long.
  const slowest = await client.evaluate(async () => {
    const frame = document.getElementById("history");
    let slowest = 0;
    let last = performance.now();
    for (let n = 0; n < 120; n += 1) {
      frame.scrollTop += 1_000;
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      slowest = Math.max(slowest, now - last);
      last = now;
    }
    return slowest;
  });
  assert.ok(slowest < 250, `a frame of ${slowest} ms`);
  // And down again to what is new.
  await post("long", "the newest");
  await client.getByRole("button", { name: "1 new, jump to the newest" }).click();
  await sees(client, "the newest");
});

test("fifty messages a second do not freeze the page", async () => {
  const page = await person(on.browser, on.hub.url, "reader");
  await on.hub.api("root", "POST", "/api/rooms", { name: "fast" });
  await enterRoom(page, "fast");
  const busy = page.evaluate(async () => {
    const late = [];
    for (let n = 0; n < 50; n += 1) {
      const due = performance.now() + 100;
      await new Promise((done) => setTimeout(done, 100));
      late.push(performance.now() - due);
    }
    return late.sort((a, b) => a - b)[45];
  });
  const sent = [];
  for (let n = 1; n <= 250; n += 1) {
    sent.push(post("fast", `message ${n}`));
    await new Promise((done) => setTimeout(done, 20));
  }
  await page.fill("#composer", "I can still write");
  await Promise.all(sent);
  const late = await busy;
  assert.ok(late < 100, `timers were late by ${late} ms`);
  await sees(page, "message 250");
  assert.equal(await page.inputValue("#composer"), "I can still write");
  const announced = await page.textContent("#announcer");
  assert.match(announced, /new messages|message 2/, "a screen reader is told, in few words");
});

test("offline and back: what one writes is kept, what one missed comes, without a gap or a repeat", async (t) => {
  const relay = await Relay.to(on.hub.port, t);
  const page = await withToken(on.browser, relay.url, token("wanderer"));
  const other = await person(on.browser, on.hub.url, "stayer");
  for (const one of [page, other]) await enterRoom(one, "offline");
  await say(page, "message 1");
  await sees(other, "message 1");
  relay.cut({ refusing: true });
  await page.getByText("No connection to the hub").waitFor();
  for (let n = 2; n <= 5; n += 1) await say(other, `message ${n}`);
  await say(page, "written offline");
  await page.locator("#messages .sending", { hasText: "written offline" }).getByText("Sending…").waitFor();
  await page.fill("#composer", "a draft");
  relay.refusing = false;
  await page.click("[data-action=reconnect]");
  await live(page);
  await page.locator("#messages .stored", { hasText: "written offline" }).waitFor();
  await sees(other, "written offline");
  const texts = ["message 1", "message 2", "message 3", "message 4", "message 5", "written offline"];
  const expected = texts.map((text, index) => [index + 1, text]);
  await until("both have all, in order, once", async () =>
    JSON.stringify(await shown(page)) === JSON.stringify(expected) && JSON.stringify(await shown(other)) === JSON.stringify(expected));
  assert.equal(await page.inputValue("#composer"), "a draft");
  assert.ok(await page.locator("#banner").isHidden());
  // A page that is loaded anew while it is offline sends what it had, once.
  relay.cut({ refusing: true });
  await connection(page, "offline");
  await say(page, "kept over a reload");
  relay.refusing = false;
  await page.reload();
  await live(page);
  await sees(other, "kept over a reload");
  assert.equal(await page.inputValue("#composer"), "");
  assert.equal((await shown(other)).filter(([, text]) => text === "kept over a reload").length, 1);
});

test("a hub that stops and one that is gone: both are said, and it goes on by itself", async (t) => {
  const own = await Hub.start({ "server.stop_timeout": "8s" }, t);
  const page = await withToken(on.browser, own.url, token("alice"));
  await enterRoom(page, "lobby");
  await own.end("SIGTERM");
  await page.getByText(/The hub is restarting|No connection to the hub/).waitFor();
  await say(page, "meanwhile");
  await own.restart();
  await page.locator("#messages .stored", { hasText: "meanwhile" }).waitFor({ timeout: 40_000 });
  await own.end("SIGKILL");
  await page.getByText("No connection to the hub").waitFor();
  await own.restart();
  await live(page);
});

test("tokens: refreshed while one talks; where none can be had, the sign-in says why", async (t) => {
  const own = await Hub.start({ "accounts.access_lifetime": "3s", "auth.expiry_notice": "1s" }, t);
  const page = await person(on.browser, own.url, "alice");
  await enterRoom(page, "lobby");
  const states = await page.evaluateHandle(() => {
    const seen = [];
    new MutationObserver(() => seen.push(document.body.dataset.connection)).observe(document.body, { attributeFilter: ["data-connection"] });
    return seen;
  });
  await page.waitForTimeout(7_500);
  await say(page, "with the third token");
  await page.locator("#messages .stored", { hasText: "third token" }).waitFor();
  assert.deepEqual(await states.jsonValue(), [], "the socket lived on");
  // An app's token can't be renewed: the person comes back to the sign-in, told why, and loses no text.
  const guest = await withToken(on.browser, own.url, token("guest", { lifetime: 4 }));
  await enterRoom(guest, "lobby");
  await guest.fill("#composer", "half a sentence");
  await guest.getByText("Your session has ended. Please sign in again.").waitFor({ timeout: 20_000 });
  await guest.click("summary");
  await guest.fill("#token", token("guest"));
  await guest.click("[data-action=use-token]");
  await live(guest);
  await enterRoom(guest, "lobby");
  assert.equal(await guest.inputValue("#composer"), "half a sentence");
});

const HOSTILE = [
  `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`,
  "[x](javascript:alert(1)) javascript:alert(1) https://good.example/a?b=c#d, and http://bank.example@evil.example/",
  "\u202eevil\u202c \u2066\u2067\u202dtext", "👩‍👩‍👧‍👦".repeat(500), "\u200b\u200c\u200d\ufeff\u2060x", "w".repeat(3_900),
  `Z${"\u0300\u0301\u0302\u0303".repeat(400)}a\u0300l\u0301go`, "\n".repeat(300) + "the end", "𝕏\u{1F3F4}\u{E0067}\u{E0062} שלום مرحبا",
];

test("hostile messages, names and rooms are shown as text and break nothing", async () => {
  const evil = "\u202e<b>e</b>\u0301".repeat(8);
  const page = await withToken(on.browser, on.hub.url, token("victim"));
  await enterRoom(page, "hostile");
  await on.hub.api("root", "PUT", "/api/rooms/hostile/members/mallory", {}).catch(() => {});
  for (const text of HOSTILE) {
    const response = await fetch(`${on.hub.url}/api/rooms/hostile/messages`, {
      method: "POST", headers: { Authorization: `Bearer ${token("mallory", { name: evil })}` }, body: JSON.stringify({ message: text }),
    });
    assert.equal(response.status, 201, await response.text());
  }
  await fetch(`${on.hub.url}/api/rooms/hostile/messages`, {
    method: "POST", headers: { Authorization: `Bearer ${token("ghost", { name: "\u200b\u2800" })}` }, body: JSON.stringify({ message: "boo" }),
  });
  await sees(page, "boo");
  await page.evaluate(() => document.querySelectorAll(".unfold").forEach((button) => button.click()));
  await page.waitForTimeout(200);
  const all = await page.evaluate(async () => {
    // All of them, also those that are not near the view.
    const found = new Map();
    const frame = document.getElementById("history");
    for (frame.scrollTop = 0; ; frame.scrollTop += 300) {
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
      for (const item of document.querySelectorAll("#messages > li")) {
        const links = [...item.querySelectorAll("a")].map(({ href, rel, target }) => [href, rel, target]);
        found.set(Number(item.dataset.seq), { text: item.querySelector(".text").textContent, links });
      }
      if (frame.scrollTop + frame.clientHeight >= frame.scrollHeight - 1) return [...found].sort(([a], [b]) => a - b).map(([, one]) => one);
    }
  });
  assert.deepEqual(all.map(({ text }) => text), [...HOSTILE, "boo"]);
  assert.ok(!(await page.title()).includes("owned"), "a message ran as a script");
  // Of all that looks like an address, one is: not a script, and not one that says one host and leads to another.
  const links = all.flatMap((one) => one.links);
  assert.deepEqual(links, [["https://good.example/a?b=c#d", "noopener noreferrer nofollow", "_blank"]]);
  for (const size of [DESKTOP, PHONE]) {
    await page.setViewportSize(size);
    await page.waitForTimeout(200);
    const { wide, tall } = await page.evaluate(() => {
      const { scrollWidth, clientWidth, scrollHeight, clientHeight } = document.documentElement;
      return { wide: scrollWidth - clientWidth, tall: scrollHeight - clientHeight };
    });
    assert.deepEqual([wide <= 0, tall <= 0], [true, true], `the page is ${wide} px too wide, ${tall} px too tall`);
  }
  await page.setViewportSize(DESKTOP);
  const author = await page.locator("#messages .author", { hasText: "ghost" }).count();
  assert.equal(author, 1, "a name of nothing visible gives way to the id");
  await page.evaluate(() => (document.getElementById("history").scrollTop = 0));
  const { width } = await page.locator("#messages .author:visible", { hasText: "<b>" }).first().boundingBox();
  assert.ok(width < 900, `a name ${width} px wide`);
  // A room with such a title and an address that names no room.
  await on.hub.api("root", "POST", "/api/rooms", { name: "t", title: HOSTILE[0].slice(0, 190) });
  await on.hub.api("root", "PUT", "/api/rooms/t/members/victim", {});
  await page.locator("[data-room=t]").click();
  await page.locator("#room-title", { hasText: "<img" }).waitFor();
  for (const hash of ["#room=%", "#room=..%2f..", "#room=<script>", "#setup=x", `#room=${"x".repeat(5_000)}`]) {
    await page.evaluate((to) => (location.hash = to), hash);
    await page.waitForTimeout(50);
  }
  assert.ok(await page.locator("#welcome").isVisible());
});

test("a session that is closed, a user who is disabled, a ban: understandable states", async () => {
  const page = await withToken(on.browser, on.hub.url, token("sender"));
  await enterRoom(page, "states");
  await page.fill("#composer", "x".repeat(4_001));
  await page.getByText("Too long by 1").waitFor();
  await page.press("#composer", "Enter");
  assert.equal((await page.inputValue("#composer")).length, 4_001, "too long a text is not lost");
  await say(page, "  kept as it is  ");
  await page.locator("#messages .stored").waitFor();
  const { sessions } = await on.hub.api("root", "GET", "/api/admin/users/sender/sessions");
  await on.hub.api("root", "POST", `/api/admin/sessions/${sessions[0].session}/close`);
  await page.getByText("Disconnected: an admin closed this session.").waitFor();
  await page.getByRole("button", { name: "Connect again" }).click();
  await live(page);
  await on.hub.api("root", "POST", "/api/admin/users/sender/disable");
  await page.getByText("Disconnected: your access was withdrawn.").waitFor();
  await on.hub.api("root", "POST", "/api/admin/users/sender/enable");
  await page.getByRole("button", { name: "Connect again" }).click();
  await live(page);
  // Banned from the room in view.
  await on.hub.api("root", "POST", "/api/rooms", { name: "strict" });
  await enterRoom(page, "strict");
  await say(page, "spam");
  await page.locator("#messages .stored", { hasText: "spam" }).waitFor();
  await on.hub.api("root", "PUT", "/api/rooms/strict/bans/sender", { reason: "no spam here" });
  await page.getByText("You were banned from strict: no spam here").waitFor();
});

test("a full queue and a database that is away: said, tried again, stored once", async (t) => {
  const own = await Hub.start({ ...UNLIMITED, "limits.writer_queue": 1, "database.write_timeout": "3s" }, t);
  const page = await withToken(on.browser, own.url, token("sender"));
  await enterRoom(page, "full");
  await say(page, "before");
  await page.locator("#messages .stored", { hasText: "before" }).waitFor();
  await own.api("other", "POST", "/api/rooms/full/messages", { message: "hello" });
  const release = await own.lock();
  t.after(release);
  // The queue's one place is taken by somebody else, whose message waits for the database.
  const others = own.api("other", "POST", "/api/rooms/full/messages", { message: "in the way" }).catch(() => {});
  await page.waitForTimeout(300);
  await say(page, "in spite of it all");
  const pending = page.locator("#messages .sending", { hasText: "in spite of it all" });
  await pending.getByText("The hub is busy. Sending again…").waitFor();
  await pending.getByText("The hub cannot store anything at the moment. Sending again…").waitFor({ timeout: 30_000 });
  await release();
  await others;
  await page.locator("#messages .stored", { hasText: "in spite of it all" }).waitFor({ timeout: 40_000 });
  const { messages } = await own.api("sender", "GET", "/api/rooms/full/messages");
  assert.equal(messages.filter(({ message }) => message === "in spite of it all").length, 1);
});

test("a message that fails says so, and can be sent again or given up", async () => {
  const page = await withToken(on.browser, on.hub.url, token("failer"));
  await enterRoom(page, "failing");
  // The page lets blank text through to nobody; what the hub alone refuses is a client_id that is used again.
  await page.evaluate(() => {
    const now = Date.now();
    Date.now = () => now;
    crypto.getRandomValues = (bytes) => bytes.fill(7);
  });
  await say(page, "the first");
  await page.locator("#messages .stored", { hasText: "the first" }).waitFor();
  await say(page, "the second");
  const failed = page.locator("#messages .failed", { hasText: "the second" });
  await failed.getByText("Not sent.").waitFor();
  await failed.getByRole("button", { name: "Try again" }).click();
  await failed.getByText("Not sent.").waitFor();
  await failed.getByRole("button", { name: "Discard" }).click();
  await failed.waitFor({ state: "detached" });
});
