// Makes the pictures of docs/images: the chat page and the console with real traffic, at phone and desktop width, light and dark.

import { mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { Hubbub } from "../../web/client/hubbub.js";
import { enterRoom, launch, person, sees, withToken } from "./browser.js";
import { Hub, token, until } from "./hub.js";

const IMAGES = fileURLToPath(new URL("../../docs/images/", import.meta.url));
const NAMES = ["Ada", "민지", "Grace", "Linus", "서준", "Barbara", "Edsger", "지우", "Alan", "Margaret"];
/** Long enough for charts to show something. */
const CONSOLE_MS = 200_000;
const SIZES = { 390: 844, 1280: 800 };
mkdirSync(IMAGES, { recursive: true });

async function shoot(page, name, prepare = async () => {}) {
  for (const [width, height] of Object.entries(SIZES)) {
    await page.setViewportSize({ width: Number(width), height });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await prepare(Number(width));
      await page.waitForTimeout(400);
      await page.screenshot({ path: `${IMAGES}${name}-${width}-${colorScheme}.png` });
    }
  }
}

const hub = await Hub.start({ "limits.sessions_per_user": 1_000 });
const browser = await launch();
try {
  // Rooms with titles, and people who talk in them: real lines of two data sets.
  hub.command("user", "admin", "root");
  const titles = { lobby: "The lobby", ubuntu: "Ubuntu help", korean: "한국어 잡담", releases: "Releases 🚀" };
  for (const [name, title] of Object.entries(titles)) await hub.api("root", "POST", "/api/rooms", { name, title });
  const people = new Map();
  const member = async (user, name) => {
    if (!people.has(user)) people.set(user, new Hubbub(hub.url, { token: () => token(user), WebSocket }).connect());
    return people.get(user).room(name).join();
  };
  const lines = (file, count) => readFileSync(new URL(`../fixtures/${file}`, import.meta.url), "utf8").trim().split("\n").slice(0, count).map((line) => JSON.parse(line));
  for (const { user, message } of lines("korean.jsonl", 24)) await (await member({ ask: "민지", answer: "서준" }[user] ?? user, "korean")).send(message);
  for (const { user, message } of lines("irc.jsonl", 40)) await (await member(user, "ubuntu")).send(message);
  await (await member("Grace", "releases")).send("2.4 is out: https://example.com/releases/2.4 🎉");
  const alice = await person(browser, hub.url, "alice");
  for (const name of ["ubuntu", "korean", "releases"]) await enterRoom(alice, name);
  await (await member("Grace", "releases")).send("Please report what you find.");
  const talk = [["Grace", "Morning! Who is testing the new build?"], ["민지", "저요! 방금 설치했어요 👋"],
    ["Grace", "Lovely. The notes are at https://example.com/notes,\nand the list of what changed is in there too:\n– reconnects without a gap\n– numbers in every room"]];
  await enterRoom(alice, "lobby");
  for (const [user, text] of talk) await (await member(user, "lobby")).send(text);
  await sees(alice, "numbers in every room");
  await alice.fill("#composer", "Works here, also on the train.");
  await alice.press("#composer", "Enter");
  await alice.locator("#messages .stored").last().waitFor();
  const typing = setInterval(() => people.get("민지").room("lobby").typing(), 3_000);
  people.get("민지").room("lobby").typing();
  await (await member("Linus", "korean")).send("안녕하세요!");
  await shoot(alice, "chat", async () => {
    await alice.locator("#typing", { hasText: "typing" }).waitFor();
  });
  clearInterval(typing);
  await alice.evaluate(() => (location.hash = ""));
  await alice.setViewportSize({ width: 390, height: SIZES[390] });
  await alice.emulateMedia({ colorScheme: "light" });
  await until("the list", () => alice.locator("#rooms").isVisible());
  await alice.screenshot({ path: `${IMAGES}rooms-390-light.png` });
  people.forEach((client) => client.close());

  // The console, after some minutes of traffic by sixty people in five rooms.
  const crowd = Array.from({ length: 60 }, (_, n) => new Hubbub(hub.url, { token: () => token(`crowd${n}`, { name: NAMES[n % NAMES.length] }), WebSocket }).connect());
  const rooms = [...Object.keys(titles), "hallway"];
  await Promise.all(crowd.flatMap((client, n) => ["lobby", rooms[n % 5]].map((name) => client.room(name).join())));
  let sent = 0;
  const talking = setInterval(() => {
    const wave = 1 + Math.round(2 + 2 * Math.sin(Date.now() / 20_000));
    for (let n = 0; n < wave; n += 1, sent += 1) {
      const text = sent % 60 === 0 ? " " : `message ${sent}`;
      crowd[sent % 60].room(sent % 3 ? "lobby" : rooms[(sent % 60) % 5]).send(text).catch(() => {});
    }
  }, 60);
  const operator = await withToken(browser, hub.url, token("root", { name: "root" }));
  await new Promise((done) => setTimeout(done, CONSOLE_MS));
  await operator.goto(`${hub.url}/admin`);
  await operator.getByText("All is well.").waitFor();
  await until("charts", async () => (await operator.locator("[data-chart=sessions] .line").getAttribute("d"))?.includes("L"));
  await shoot(operator, "console");
  await operator.goto(`${hub.url}/admin#sessions`);
  await operator.locator("#section-sessions tbody tr").first().waitFor();
  await shoot(operator, "console-sessions");
  clearInterval(talking);
  crowd.forEach((client) => client.close());
} finally {
  await browser.close();
  await hub.stop();
}
