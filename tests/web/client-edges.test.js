// The JavaScript client where apps and networks misbehave: nothing is lost or hangs without a word, nobody speaks as somebody else,
// and no room, message or cursor takes others with it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { Accounts, Hubbub, SignedOut, Timeline, path } from "../../web/client/hubbub.js";
import { Hub, token, until } from "./hub.js";
import { Relay } from "./relay.js";

let hub;
before(async () => {
  hub = await Hub.start();
});
after(() => hub.stop());

function client(t, user, { url = hub.url, ...options } = {}) {
  const made = new Hubbub(url, { token: () => token(user), WebSocket, ...options });
  t.after(() => made.close());
  return made.connect();
}
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const stored = async (room) => (await hub.api("reader", "GET", `/api/rooms/${room}/messages`)).messages.map(({ user_id, message }) => [user_id, message]);

test("what is too long for a frame fails alone, and so does what is no JSON", async (t) => {
  const made = client(t, "alice");
  const room = await made.room("frames").join();
  await assert.rejects(room.send("한".repeat(30_000)), { code: "too_long" });
  await assert.rejects(room.send("x", { data: { n: 1n } }), TypeError);
  room.outbox.forEach(({ clientId }) => room.discard(clientId));
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const before = timers();
  for (let n = 0; n < 5; n += 1) await assert.rejects(made.request({ type: "ping", n: 1n }), TypeError);
  assert.ok(timers() <= before, "a reply is awaited that can't come: it would cost the socket");
  assert.equal((await room.send("fits")).seq, 1);
  assert.equal(made.state.name, "live");
});

test("a cursor that is none is refused, and a room that is refused takes no other with it", async (t) => {
  const made = client(t, "bob");
  for (const cursor of ["12", -1, 1.5, NaN]) await assert.rejects(made.room("cursors").join({ after: cursor }), { code: "bad_field" });
  // The hub refuses a whole `resume` for one room's epoch.
  const bad = made.room("bad").join({ after: 3, epoch: 5 });
  const good = made.room("good").join({ after: 0 });
  await assert.rejects(bad, { code: "bad_field" });
  await good;
  await made.room("later").join();
  await until("live", () => made.state.name === "live");
});

test("a token of somebody else: nothing that waits is sent as them", async (t) => {
  const relay = await Relay.to(hub.port, t);
  let who = "alice";
  const made = client(t, "", { url: relay.url, token: () => token(who) });
  const room = await made.room("whose").join();
  await room.send("alice's");
  relay.cut({ refusing: true });
  await until("down", () => made.state.name === "offline");
  room.send("alice's, written offline").catch(() => {});
  who = "bob";
  relay.refusing = false;
  made.retryNow();
  await until("closed", () => made.state.name === "closed");
  assert.equal(made.state.reason, "user_changed");
  await wait(300);
  assert.deepEqual(await stored("whose"), [["alice", "alice's"]]);
  who = "alice";
  made.connect();
  await until("as oneself it goes on", async () => (await stored("whose")).length === 2);
});

test("accounts: a renewal that comes late gives nobody another's token", async () => {
  const held = [];
  const slow = async (address, options) => {
    if (address.endsWith("/refresh")) await new Promise((go) => held.push(go));
    return fetch(address, options);
  };
  const setup = new Accounts(hub.url);
  await setup.register("late-alice", "correct horse");
  await setup.register("late-bob", "correct horse");
  const accounts = new Accounts(hub.url, { fetch: slow });
  await accounts.signIn("late-alice", "correct horse");
  const late = accounts.token({ renew: true });
  await until("it is under way", () => held.length === 1);
  accounts.signOut();
  await assert.rejects(accounts.token({ renew: false }), SignedOut);
  await accounts.signIn("late-bob", "correct horse");
  held[0]();
  await late;
  const { user_id } = JSON.parse(Buffer.from((await accounts.token({ renew: false })).split(".")[1], "base64url"));
  assert.equal(user_id, "hub:late-bob");
});

test("a message to each of many rooms at once: slower, not more than the hub bears", async (t) => {
  const own = await Hub.start({ "limits.new_rooms_per_hour": 1_000 }, t);
  const paced = client(t, "many", { url: own.url });
  const there = Array.from({ length: 100 }, (_, n) => paced.room(`pace-${n}`));
  await Promise.all(there.map((room) => room.join()));
  own.command("user", "admin", "root");
  const seqs = await Promise.all(there.map((room) => room.send("hi")));
  assert.ok(seqs.every(({ seq }) => seq === 1));
  assert.equal(paced.state.name, "live");
  const { errors } = await own.api("root", "GET", "/api/admin/stats");
  assert.ok((errors.rate_limited ?? 0) < 50, `${errors.rate_limited} refusals for 100 messages`);
});

test("who is taken out of a public room is out of it", async (t) => {
  await hub.api("owner", "POST", "/api/rooms", { name: "public" });
  await hub.api("owner", "PUT", "/api/rooms/public/members/mem", {});
  const [owner, mem] = [client(t, "owner"), client(t, "mem")];
  const [stays, goes] = await Promise.all([owner.room("public").join(), mem.room("public").join()]);
  const heard = [];
  mem.on("message", ({ message }) => heard.push(message));
  const left = new Promise((done) => goes.on("left", done));
  await hub.api("mem", "DELETE", "/api/rooms/public/members/mem");
  await left;
  await until("they are not here", async () => (await stays.presence()).users.every(({ user_id }) => user_id !== "mem"));
  await stays.send("after");
  await wait(200);
  assert.deepEqual(heard, []);
  // Something that was late is nothing to a room that was left.
  goes.take({ type: "lagged", room: "public", reset: true, head: 500, epoch: "x" });
  assert.equal(goes.cursor, null);
});

test("leaving and giving up: each message's promise comes to an end, and a true one", async (t) => {
  const made = client(t, "leaver");
  const room = await made.room("leaving").join();
  const flying = room.send("on its way");
  const waiting = room.send("not yet sent");
  const left = new Promise((done) => room.on("left", done));
  const refused = assert.rejects(waiting, { code: "not_joined" });
  room.leave();
  assert.deepEqual((await left).unsent.map(({ message }) => message), ["not yet sent"]);
  assert.equal((await flying).seq, 1, "it was stored, and that is what is said");
  await refused;
  assert.deepEqual(await stored("leaving"), [["leaver", "on its way"]]);
  await room.join();
  made.close();
  const given = assert.rejects(room.send("given up", { clientId: "g" }), { code: "discarded" });
  room.discard("g");
  await given;
});

test("no WebSocket to be had: closed, and why", async (t) => {
  const made = client(t, "x", { WebSocket: class {
    constructor() {
      throw new Error("not from a page like this");
    }
  } });
  await until("closed", () => made.state.name === "closed");
  assert.equal(made.state.reason, "not from a page like this");
  made.close();
  assert.deepEqual([made.state.code, made.state.reason], [1000, "closed here"]);
});

test("only the hub's own word is the hub's: a token that has to wait may be hurried", async (t) => {
  let asked = 0;
  const made = client(t, "x", { token: async () => {
    asked += 1;
    throw Object.assign(new Error("too fast"), { retryAfterMs: 60_000 });
  } });
  await until("offline", () => made.state.name === "offline");
  assert.equal(made.state.asked, false);
  made.retryNow();
  await until("asked again", () => asked === 2);
});

test("after a reset a timeline shows no gap as if there were none, and loads by itself once it can", async (t) => {
  const own = await Hub.start({ "limits.replay_resume": 5, "limits.commands_per_second": 1_000, "limits.commands_burst": 1_000 }, t);
  const relay = await Relay.to(own.port, t);
  let failing = false;
  const failingFetch = (address, options) => (failing ? Promise.reject(new TypeError("no network")) : fetch(address, options));
  const away = client(t, "away", { url: relay.url, fetch: failingFetch });
  const writer = await client(t, "writer", { url: own.url }).room("torn").join();
  const room = await away.room("torn").join();
  const timeline = new Timeline(room, { page: 10 });
  t.after(() => timeline.close());
  await writer.send("message 1");
  await until("loaded", () => timeline.state === "ready" && timeline.messages.length === 1);
  relay.cut({ refusing: true });
  for (let n = 2; n <= 20; n += 1) await writer.send(`message ${n}`);
  failing = true;
  relay.refusing = false;
  away.retryNow();
  await until("failed", () => timeline.state === "failed");
  await writer.send("message 21");
  await wait(300);
  assert.deepEqual(timeline.messages.map(({ seq }) => seq), [1], "21 does not follow 1");
  failing = false;
  await until("loaded by itself", () => timeline.state === "ready" && timeline.messages.at(-1).seq === 21);
  assert.deepEqual(timeline.messages.map(({ seq }) => seq), Array.from({ length: 10 }, (_, n) => 12 + n));
});

test("closed is closed: a process of Node ends, whatever was waited for", async () => {
  const script = `
    import WebSocket from "ws";
    import { Hubbub } from ${JSON.stringify(new URL("../../web/client/hubbub.js", import.meta.url).href)};
    const hub = new Hubbub(${JSON.stringify(hub.url)}, { token: () => new Promise(() => {}), WebSocket }).connect();
    hub.call("GET", ${JSON.stringify(path("me"))}).catch(() => {});
    setTimeout(() => hub.close(), 100);`;
  const began = Date.now();
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], { cwd: fileURLToPath(new URL(".", import.meta.url)), stdio: "inherit" });
  assert.equal(await new Promise((done) => child.once("exit", done)), 0);
  assert.ok(Date.now() - began < 5_000, `it lived on for ${Date.now() - began} ms`);
});
