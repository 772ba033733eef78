// The chat page in Debian's Chromium against the real hub, as people use it.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { accessible, connection, DESKTOP, enterRoom, launch, live, person, PHONE, register, say, sees, shown, visit, withToken } from "./browser.js";
import { Hub, token, until } from "./hub.js";
import { Relay } from "./relay.js";

const UNLIMITED = {
  "limits.commands_per_second": 100_000, "limits.commands_burst": 100_000, "limits.user_commands_per_second": 100_000,
  "limits.user_commands_burst": 100_000, "limits.frames_per_second": 100_000, "limits.frames_burst": 100_000,
};
let hub, browser;
before(async () => {
  hub = await Hub.start(UNLIMITED);
  hub.command("user", "admin", "root");
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await hub?.stop();
});
afterEach(async () => {
  const faults = browser.faults.splice(0);
  await Promise.all(browser.contexts().map((context) => context.close()));
  assert.deepEqual(faults, [], "what the browser's console says of the page");
});

const post = (room, message, more = {}) => hub.api("root", "POST", `/api/rooms/${room}/messages`, { message, ...more });
const seqs = async (page) => (await shown(page)).map(([seq]) => seq);
const ascending = (list) => list.every((seq, index) => index === 0 || seq === list[index - 1] + 1);

test("register, sign out, sign in; what is wrong is said in words", async () => {
  const page = await visit(browser, hub.url);
  await page.click("[data-action=sign-in]");
  await page.getByText("Please enter a username.").waitFor();
  await page.fill("#username", "regina");
  await page.fill("#password", "short");
  await page.click("[data-action=register]");
  await page.getByText("This password is too short").waitFor();
  await accessible(page, "the sign-in");
  await register(page, "regina");
  assert.equal(await page.textContent("#who"), "regina");
  await page.getByText("You are in no room yet").waitFor();
  await page.click("[data-action=sign-out]");
  await page.fill("#username", "regina");
  await page.fill("#password", "wrong horse");
  await page.click("[data-action=sign-in]");
  await page.getByText("There is no account with this name and password.").waitFor();
  await page.fill("#password", "correct horse");
  await page.press("#password", "Enter");
  await live(page);
  await page.reload();
  await live(page);
});

test("two people talk: typing, presence, unread counts, rooms of their own", async () => {
  const alice = await person(browser, hub.url, "alice");
  const bob = await person(browser, hub.url, "bob");
  for (const page of [alice, bob]) await enterRoom(page, "lobby");
  await say(alice, "hello, 안녕 👋");
  await sees(bob, "hello, 안녕 👋");
  await alice.locator("#messages .mine.stored", { hasText: "hello" }).waitFor();
  await bob.locator("#composer").pressSequentially("so", { delay: 50 });
  await alice.locator("#typing", { hasText: "bob is typing…" }).waitFor();
  await alice.locator("#presence", { hasText: "2 here: alice, bob" }).waitFor();
  // A room of alice's own, to which bob is added while he looks at another one.
  await alice.click("[data-action=new-room]");
  await alice.fill("#new-name", "bad name");
  await alice.click("[data-action=make-room]");
  await alice.getByText("This cannot be a room’s name").waitFor();
  await alice.fill("#new-name", "secret");
  await alice.fill("#new-title", "비밀 방");
  await alice.check("[name=private]");
  await alice.click("[data-action=make-room]");
  await alice.locator("#room-title", { hasText: "비밀 방" }).waitFor();
  await alice.click("[data-action=details]");
  await alice.fill("#add-user", "hub:bob");
  await alice.click("[data-action=add-member]");
  await alice.locator("#members li", { hasText: "bob" }).waitFor();
  await alice.click("#details [data-action=close]");
  await bob.locator("[data-room=secret]", { hasText: "비밀 방" }).waitFor();
  for (const text of ["one", "two", "three"]) await say(alice, text);
  await bob.locator("[data-room=secret] .line-badge", { hasText: "3" }).waitFor();
  await until("the tab's title counts", async () => (await bob.title()).startsWith("(3) "));
  await bob.click("[data-room=secret] a");
  await sees(bob, "three");
  await bob.locator("[data-room=secret] .line-badge").waitFor({ state: "hidden" });
  // One day, one author: one head.
  assert.equal(await bob.locator("#messages .byline:visible").count(), 1);
  assert.equal(await bob.locator("#messages .day:visible").textContent(), "Today");
  // Taken out while looking: said, and gone.
  await alice.click("[data-action=details]");
  await alice.locator("#members li", { hasText: "bob" }).getByRole("button", { name: "Remove" }).click();
  await bob.getByText("You are no longer in 비밀 방.").waitFor();
  await bob.locator("[data-room=secret]").waitFor({ state: "detached" });
});

test("ten thousand messages: loaded upwards without a jump, few of them in the document", async () => {
  const client = await person(browser, hub.url, "historian");
  await hub.api("root", "POST", "/api/rooms", { name: "long" });
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
  const page = await person(browser, hub.url, "reader");
  await hub.api("root", "POST", "/api/rooms", { name: "fast" });
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
  const relay = await Relay.to(hub.port, t);
  const page = await withToken(browser, relay.url, token("wanderer"));
  const other = await person(browser, hub.url, "stayer");
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
  const page = await withToken(browser, own.url, token("alice"));
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
  const page = await person(browser, own.url, "alice");
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
  const guest = await withToken(browser, own.url, token("guest", { lifetime: 4 }));
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

test("Korean, Japanese and Chinese: Enter that ends a composition sends nothing", async () => {
  const page = await person(browser, hub.url, "민지");
  await enterRoom(page, "ime");
  const session = await page.context().newCDPSession(page);
  await page.focus("#composer");
  for (const [parts, whole] of [[["ㅎ", "하", "한"], "한"], [["k", "か", "かん"], "漢"], [["n", "ni", "你"], "你"]]) {
    for (const text of parts) await session.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
    // The Enter that the input method takes arrives as a key of its own, marked as being part of the composition.
    await session.send("Input.dispatchKeyEvent", { type: "rawKeyDown", key: "Process", code: "Enter", windowsVirtualKeyCode: 229 });
    await page.evaluate(() => document.getElementById("composer").dispatchEvent(
      new KeyboardEvent("keydown", { key: "Enter", isComposing: true, bubbles: true, cancelable: true })));
    await session.send("Input.insertText", { text: whole });
  }
  await page.waitForTimeout(300);
  assert.deepEqual(await shown(page), [], "a composition was sent");
  assert.equal(await page.inputValue("#composer"), "한漢你");
  await page.press("#composer", "Shift+Enter");
  await page.keyboard.type("둘째 줄");
  await page.press("#composer", "Enter");
  await page.locator("#messages .stored").waitFor();
  assert.deepEqual(await shown(page), [[1, "한漢你\n둘째 줄"]]);
});

test("by the keyboard alone, from the sign-in to a message in a room of one's own", async () => {
  const page = await visit(browser, hub.url);
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.dataset.action || document.activeElement.className);
  const tabTo = async (what) => {
    for (let n = 0; n < 30; n += 1) {
      if ((await focused()) === what) return;
      await page.keyboard.press("Tab");
      const outlined = await page.evaluate(() => document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "none");
      assert.ok(outlined, `no focus to be seen on ${await focused()}`);
    }
    assert.fail(`Tab does not reach ${what}`);
  };
  await tabTo("username");
  await page.keyboard.type("keyboarder");
  await tabTo("password");
  await page.keyboard.type("correct horse");
  await tabTo("register");
  await page.keyboard.press("Enter");
  await live(page);
  await tabTo("new-room");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "new-name", "a dialog's first field has the focus");
  await page.keyboard.type("keys");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#composer:visible");
  await until("the composer has the focus", async () => (await focused()) === "composer");
  await page.keyboard.type("typed");
  await page.keyboard.press("Enter");
  await page.locator("#messages .stored", { hasText: "typed" }).waitFor();
  await page.keyboard.press("Shift+Tab");
  assert.ok(["history", "jump"].includes(await focused()), await focused());
  await page.keyboard.press("PageUp");
  await tabTo("details");
  await page.keyboard.press("Enter");
  await page.locator("#details[open]").waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await focused(), "details", "the focus comes back to where it was");
});

const HOSTILE = [
  `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`,
  "[x](javascript:alert(1)) javascript:alert(1) https://good.example/a?b=c#d, and http://bank.example@evil.example/",
  "\u202eevil\u202c \u2066\u2067\u202dtext", "👩‍👩‍👧‍👦".repeat(500), "\u200b\u200c\u200d\ufeff\u2060x", "w".repeat(3_900),
  `Z${"\u0300\u0301\u0302\u0303".repeat(400)}a\u0300l\u0301go`, "\n".repeat(300) + "the end", "𝕏\u{1F3F4}\u{E0067}\u{E0062} שלום مرحبا",
];

test("hostile messages, names and rooms are shown as text and break nothing", async () => {
  const evil = "\u202e<b>e</b>\u0301".repeat(8);
  const page = await withToken(browser, hub.url, token("victim"));
  await enterRoom(page, "hostile");
  await hub.api("root", "PUT", "/api/rooms/hostile/members/mallory", {}).catch(() => {});
  for (const text of HOSTILE) {
    const response = await fetch(`${hub.url}/api/rooms/hostile/messages`, {
      method: "POST", headers: { Authorization: `Bearer ${token("mallory", { name: evil })}` }, body: JSON.stringify({ message: text }),
    });
    assert.equal(response.status, 201, await response.text());
  }
  await fetch(`${hub.url}/api/rooms/hostile/messages`, {
    method: "POST", headers: { Authorization: `Bearer ${token("ghost", { name: "\u200b\u2800" })}` }, body: JSON.stringify({ message: "boo" }),
  });
  await sees(page, "boo");
  await page.evaluate(() => document.querySelectorAll(".unfold").forEach((button) => button.click()));
  await page.waitForTimeout(200);
  const texts = (await page.evaluate(async () => {
    // All of them, also those that are not near the view.
    const found = new Map();
    const frame = document.getElementById("history");
    for (frame.scrollTop = 0; ; frame.scrollTop += 300) {
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
      for (const item of document.querySelectorAll("#messages > li")) found.set(Number(item.dataset.seq), item.querySelector(".text").textContent);
      if (frame.scrollTop + frame.clientHeight >= frame.scrollHeight - 1) return [...found].sort(([a], [b]) => a - b).map(([, text]) => text);
    }
  }));
  assert.deepEqual(texts, [...HOSTILE, "boo"]);
  assert.ok(!(await page.title()).includes("owned"), "a message ran as a script");
  const links = await page.$$eval("#messages a", (all) => all.map(({ href, rel, target }) => [href, rel, target]));
  links.forEach(([href, rel, target]) => {
    assert.equal(href, "https://good.example/a?b=c#d");
    assert.deepEqual([rel, target], ["noopener noreferrer nofollow", "_blank"]);
  });
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
  await hub.api("root", "POST", "/api/rooms", { name: "t", title: HOSTILE[0].slice(0, 190) });
  await hub.api("root", "PUT", "/api/rooms/t/members/victim", {});
  await page.locator("[data-room=t]").click();
  await page.locator("#room-title", { hasText: "<img" }).waitFor();
  for (const hash of ["#room=%", "#room=..%2f..", "#room=<script>", "#setup=x", `#room=${"x".repeat(5_000)}`]) {
    await page.evaluate((to) => (location.hash = to), hash);
    await page.waitForTimeout(50);
  }
  assert.ok(await page.locator("#welcome").isVisible());
});

test("a session that is closed, a user who is disabled, a ban: understandable states", async () => {
  const page = await withToken(browser, hub.url, token("sender"));
  await enterRoom(page, "states");
  await page.fill("#composer", "x".repeat(4_001));
  await page.getByText("Too long by 1").waitFor();
  await page.press("#composer", "Enter");
  assert.equal((await page.inputValue("#composer")).length, 4_001, "too long a text is not lost");
  await say(page, "  kept as it is  ");
  await page.locator("#messages .stored").waitFor();
  const { sessions } = await hub.api("root", "GET", "/api/admin/users/sender/sessions");
  await hub.api("root", "POST", `/api/admin/sessions/${sessions[0].session}/close`);
  await page.getByText("Disconnected: an admin closed this session.").waitFor();
  await page.getByRole("button", { name: "Connect again" }).click();
  await live(page);
  await hub.api("root", "POST", "/api/admin/users/sender/disable");
  await page.getByText("Disconnected: your access was withdrawn.").waitFor();
  await hub.api("root", "POST", "/api/admin/users/sender/enable");
  await page.getByRole("button", { name: "Connect again" }).click();
  await live(page);
  // Banned from the room in view.
  await hub.api("root", "POST", "/api/rooms", { name: "strict" });
  await enterRoom(page, "strict");
  await say(page, "spam");
  await page.locator("#messages .stored", { hasText: "spam" }).waitFor();
  await hub.api("root", "PUT", "/api/rooms/strict/bans/sender", { reason: "no spam here" });
  await page.getByText("You were banned from strict: no spam here").waitFor();
});

test("a full queue and a database that is away: said, tried again, stored once", async (t) => {
  const own = await Hub.start({ ...UNLIMITED, "limits.writer_queue": 1, "database.write_timeout": "3s" }, t);
  const page = await withToken(browser, own.url, token("sender"));
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
  const page = await withToken(browser, hub.url, token("failer"));
  await enterRoom(page, "failing");
  // The page lets blank text through to nobody; what the hub alone refuses is a client_id that is used again.
  await page.evaluate(() => (crypto.randomUUID = () => "11111111-1111-4111-8111-111111111111"));
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

test("Korean: every word of the page, and times in the reader's zone", async () => {
  const page = await visit(browser, hub.url, { locale: "ko-KR", timezoneId: "America/New_York" });
  assert.equal(await page.getAttribute("html", "lang"), "ko");
  await page.getByRole("button", { name: "계정 만들기" }).waitFor();
  await register(page, "한국인");
  await enterRoom(page, "korean");
  const { timestamp } = await hub.api("root", "POST", "/api/rooms/korean/messages", { message: "시간" });
  await sees(page, "시간");
  const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", timeZone: "America/New_York" }).format(new Date(timestamp));
  assert.equal(await page.textContent("#messages time"), `${clock.includes("AM") ? "오전" : "오후"} ${clock.slice(0, 5)}`);
  const latin = await page.evaluate(() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const words = [];
    while (walker.nextNode()) words.push(walker.currentNode.textContent.trim());
    return words.filter((text) => /^[A-Za-z][A-Za-z ,.…’]{3,}$/.test(text));
  });
  assert.deepEqual(latin.filter((text) => !["Hubbub", "korean", "root", "English", "HTTP API"].includes(text)), [], "not in Korean");
  await page.getByRole("button", { name: "English" }).click();
  await page.getByRole("button", { name: "New room" }).waitFor();
});

test("axe-core finds nothing serious, light and dark, at desktop and phone width", async () => {
  const page = await person(browser, hub.url, "axel");
  await enterRoom(page, "axe");
  await say(page, "a message with https://example.com in it");
  await post("axe", "and one of somebody else's");
  await sees(page, "somebody else");
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const size of [DESKTOP, PHONE]) {
      await page.setViewportSize(size);
      await accessible(page, `the room, ${colorScheme}, ${size.width} px`);
    }
    await page.setViewportSize(DESKTOP);
    for (const dialog of ["details", "browse", "new-room"]) {
      await page.click(`[data-action=${dialog}]`);
      await page.locator(`#${dialog}[open]`).waitFor();
      await accessible(page, `${dialog}, ${colorScheme}`);
      await page.keyboard.press("Escape");
    }
  }
  await accessible(await visit(browser, hub.url, { path: "/api/docs" }), "the API's reference");
});

test("under 100 KB, and painted before there is a socket", async () => {
  for (const locale of ["en-GB", "ko-KR"]) {
    const page = await visit(browser, hub.url, { locale });
    let bytes = 0;
    const bodies = [];
    page.on("response", (response) => {
      // The page and its parts; images, and what the API says of this user's rooms, are not counted.
      if (!/\.svg$|\/api\//.test(response.url())) bodies.push(response.body().then((body) => (bytes += body.length)));
    });
    await register(page, `weigher-${locale.toLowerCase()}`);
    await page.routeWebSocket("**/ws", () => {}); // Taken, and never answered.
    const session = await page.context().newCDPSession(page);
    await session.send("Network.enable");
    await session.send("Network.setCacheDisabled", { cacheDisabled: true });
    bytes = 0;
    bodies.length = 0;
    await page.reload();
    await page.waitForSelector(".side:visible");
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    assert.ok(paint > 0 && paint < 3_000, `first paint after ${paint} ms`);
    assert.notEqual(await page.getAttribute("body", "data-connection"), "live");
    await page.waitForTimeout(500);
    await Promise.all(bodies);
    console.log(`${locale}: ${bytes} bytes, first paint after ${Math.round(paint)} ms`);
    assert.ok(bytes > 50_000 && bytes < 100_000, `${bytes} bytes in ${locale}`);
  }
});
