// The tutorial's page in Chromium, on which only host and port are replaced: two people see what each of them says.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";
import { launch, watch } from "./browser.js";
import { Hub, token } from "./hub.js";

test("the tutorial's page talks to the hub", async (t) => {
  const hub = await Hub.start({}, t);
  const html = readFileSync(new URL("../fixtures/tutorial.html", import.meta.url), "utf8").replaceAll("localhost:8000", `127.0.0.1:${hub.port}`);
  const server = createServer((_, response) => response.setHeader("Content-Type", "text/html; charset=utf-8").end(html));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => server.close());
  const browser = await launch();
  t.after(() => browser.close());
  const pages = [];
  for (const [user, name] of [["1", "alice"], ["2", "민지"]]) {
    const page = await (await browser.newContext()).newPage();
    watch(browser, page);
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.evaluate((given) => localStorage.setItem("token", given), token(user, { name }));
    await page.reload();
    await page.waitForFunction("socket.readyState === 1");
    pages.push(page);
  }
  const [first, second] = pages;
  await first.fill("#input", "hi from a browser");
  await first.click("#send");
  await second.waitForSelector("li");
  await second.fill("#input", "<b>안녕</b> 👋");
  await second.click("#send");
  for (const page of pages) {
    await page.waitForFunction("document.querySelectorAll('li').length === 2");
    const lines = await page.locator("li").allTextContents();
    const [said, answered] = lines.map((line) => line.match(/^(.*) \((.*)\)$/s));
    assert.deepEqual([said[1], answered[1]], ["alice: hi from a browser", "민지: <b>안녕</b> 👋"]);
    for (const [, , time] of [said, answered]) assert.match(time, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  }
  assert.deepEqual(browser.faults, []);
});
