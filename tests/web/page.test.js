// The chat page in Debian's Chromium against the real hub, as people use it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { accessible, DESKTOP, enterRoom, live, person, PHONE, register, say, sees, shown, stage, UNLIMITED, visit } from "./browser.js";
import { until } from "./hub.js";

const on = stage(UNLIMITED, (hub) => hub.command("user", "admin", "root"));

const post = (room, message) => on.hub.api("root", "POST", `/api/rooms/${room}/messages`, { message });

test("register, sign out, sign in; what is wrong is said in words", async () => {
  const page = await visit(on.browser, on.hub.url);
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
  const alice = await person(on.browser, on.hub.url, "alice");
  const bob = await person(on.browser, on.hub.url, "bob");
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

test("Korean, Japanese and Chinese: Enter that ends a composition sends nothing", async () => {
  const page = await person(on.browser, on.hub.url, "민지");
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
  const page = await visit(on.browser, on.hub.url);
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
  await until("a dialog's first field has the focus", async () => (await focused()) === "new-name");
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

test("Korean: every word of the page, and times in the reader's zone", async () => {
  const page = await visit(on.browser, on.hub.url, { locale: "ko-KR", timezoneId: "America/New_York" });
  assert.equal(await page.getAttribute("html", "lang"), "ko");
  await page.getByRole("button", { name: "계정 만들기" }).waitFor();
  await register(page, "한국인");
  await enterRoom(page, "korean");
  const { timestamp } = await on.hub.api("root", "POST", "/api/rooms/korean/messages", { message: "시간" });
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
  const page = await person(on.browser, on.hub.url, "axel");
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
  await accessible(await visit(on.browser, on.hub.url, { path: "/api/docs" }), "the API's reference");
});

test("under 100 KB, and painted before there is a socket", async () => {
  for (const locale of ["en-GB", "ko-KR"]) {
    const page = await visit(on.browser, on.hub.url, { locale });
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
