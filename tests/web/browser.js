// Debian's Chromium for a test, and people in it: each with a browser context of their own, whose console must stay clean.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { Hub } from "./hub.js";

export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };
/** Lost sockets and refused calls are what the tests are about; the page's faults are others. */
const EXPECTED = ["WebSocket", "status of 4", "status of 5", "net::ERR"];

/** A hub, which `prepare` may prepare, and a browser for the tests of a file, there once the first test begins. What is wrong on a page fails its test. */
export function stage(settings, prepare = () => {}) {
  const on = {};
  before(async () => {
    on.hub = await Hub.start(settings);
    prepare(on.hub);
    on.browser = await launch();
  });
  after(async () => {
    await on.browser?.close();
    await on.hub?.stop();
  });
  afterEach(async () => {
    const faults = on.browser.faults.splice(0);
    await Promise.all(on.browser.contexts().map((context) => context.close()));
    assert.deepEqual(faults, [], "what the browser's console says of the page");
  });
  return on;
}

export async function launch() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  });
  browser.faults = [];
  return browser;
}

/** Someone at a hub's page, signed out. */
export async function visit(browser, url, { path = "/", ...options } = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, locale: "en-GB", timezoneId: "Asia/Seoul", ...options });
  const page = await context.newPage();
  watch(browser, page);
  await page.goto(url + path);
  return page;
}

export function watch(browser, page) {
  page.setDefaultTimeout(15_000);
  page.on("pageerror", (error) => browser.faults.push(error.stack));
  page.on("console", (line) => {
    const fault = ["error", "warning"].includes(line.type()) && !EXPECTED.some((text) => line.text().includes(text));
    if (fault) browser.faults.push(line.text());
  });
}

export async function register(page, name, password = "correct horse") {
  await page.fill("#username", name);
  await page.fill("#password", password);
  await page.click("[data-action=register]");
  await live(page);
}

/** Someone who has just registered. */
export async function person(browser, url, name, options) {
  const page = await visit(browser, url, options);
  await register(page, name);
  return page;
}

/** Fast enough for tests that send as fast as they can. */
export const UNLIMITED = {
  "limits.commands_per_second": 100_000, "limits.commands_burst": 100_000, "limits.user_commands_per_second": 100_000,
  "limits.user_commands_burst": 100_000, "limits.frames_per_second": 100_000, "limits.frames_burst": 100_000, "limits.new_rooms_per_hour": 10_000,
};

/** Someone with a token of the app. */
export async function withToken(browser, url, token, options) {
  const page = await visit(browser, url, options);
  await page.click("summary");
  await page.fill("#token", `"Bearer ${token}"\n`);
  await page.click("[data-action=use-token]");
  await live(page);
  return page;
}

export const live = (page) => page.waitForSelector("body[data-connection=live]");
export const connection = (page, name) => page.waitForSelector(`body[data-connection=${name}]`, { timeout: 40_000 });

export async function enterRoom(page, name) {
  await page.goto(`${new URL(page.url()).origin}/#room=${encodeURIComponent(name)}`);
  const button = page.locator("[data-action=open-room]:visible, #room:visible").first();
  await button.waitFor();
  // It may open by itself meanwhile, where the page is told that one is a member.
  if (await page.locator("#room").isHidden()) await page.click("[data-action=open-room]", { timeout: 2_000 }).catch(() => {});
  await page.waitForSelector("#composer:visible");
}

export async function say(page, text) {
  await page.fill("#composer", text);
  await page.press("#composer", "Enter");
}

/** The messages that are in the document, as [seq or null, text]. */
export const shown = (page) => page.$$eval("#messages > li", (items) =>
  items.map((item) => [Number(item.dataset.seq) || null, item.querySelector(".text").textContent]));

/** Waits until a message is shown. */
export const sees = (page, text) => page.locator("#messages .text", { hasText: text }).first().waitFor();

/** Fails where axe-core finds anything serious. */
export async function accessible(page, what) {
  const axe = readFileSync(fileURLToPath(new URL("node_modules/axe-core/axe.min.js", import.meta.url)), "utf8");
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = serious.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
  assert.deepEqual(told, [], what);
}
