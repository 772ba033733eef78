// The JavaScript client (web/client) in Node against the real hub: sending once through lost connections, resuming without a gap,
// coming back, refreshing its token, and ending where the hub says so.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import WebSocket from "ws";
import { Accounts, HubError, Hubbub, SignedOut, Timeline, path } from "../../web/client/hubbub.js";
import { Hub, token, until } from "./hub.js";
import { Relay } from "./relay.js";

let hub;
before(async () => {
  hub = await Hub.start({ "server.stop_timeout": "5s" });
});
after(() => hub.stop());

const clients = [];
function client(user, { url = hub.url, ...options } = {}) {
  const made = new Hubbub(url, { token: () => token(user), WebSocket, ...options });
  made.states = [];
  made.on("state", ({ name }) => made.states.push(name));
  clients.push(made);
  return made.connect();
}
after(() => clients.forEach((made) => made.close()));

/** A client in a room, with the seqs and texts that it is given. */
async function member(user, name, options) {
  const made = client(user, options);
  const room = made.room(name);
  const got = [];
  room.on("message", ({ seq, message }) => got.push([seq, message]));
  await room.join();
  return { made, room, got };
}

const numbered = (count) => Array.from({ length: count }, (_, n) => [n + 1, `message ${n + 1}`]);

test("two people talk: stored, numbered, delivered to both", async () => {
  const alice = await member("alice", "talk");
  const bob = await member("bob", "talk");
  const typing = new Promise((heard) => bob.room.on("typing", heard));
  alice.room.typing();
  assert.equal((await typing).user_id, "alice");
  const first = await alice.room.send("안녕 👋", { data: { mood: ["good"] } });
  assert.deepEqual([first.seq, first.repeat], [1, false]);
  await bob.room.send("hi");
  await until("both have both", () => alice.got.length === 2 && bob.got.length === 2);
  assert.deepEqual(bob.got, [[1, "안녕 👋"], [2, "hi"]]);
  assert.deepEqual((await bob.room.presence()).users.map(({ user_id }) => user_id), ["alice", "bob"]);
  const page = await bob.room.history({ limit: 1 });
  assert.deepEqual([page.messages[0].seq, page.more, page.head], [2, true, 2]);
  assert.deepEqual(await bob.room.read(2), { type: "ok", id: (await bob.room.read(2)).id - 1, room: "talk", seq: 2 });
  assert.deepEqual(alice.made.user, { id: "alice", name: "alice" });
  assert.equal(alice.made.state.name, "live");
});

test("what is sent while the wire is cut again and again is stored once each, in order", async (t) => {
  const relay = await Relay.to(hub.port, t);
  const reader = await member("reader", "cuts");
  const writer = await member("writer", "cuts", { url: relay.url });
  const fates = [];
  for (let n = 1; n <= 60; n += 1) {
    fates.push(writer.room.send(`message ${n}`));
    if (n % 20 === 10) {
      await until("connected", () => writer.room.joined);
      relay.cut();
    }
    await new Promise((done) => setTimeout(done, 15));
  }
  const stored = await Promise.all(fates);
  assert.deepEqual(stored.map(({ seq }) => seq), numbered(60).map(([seq]) => seq));
  await until("both have all", () => reader.got.length >= 60 && writer.got.length >= 60);
  assert.deepEqual(reader.got, numbered(60));
  assert.deepEqual(writer.got, numbered(60), "resumed without a gap or a repeat");
  assert.ok(relay.opened >= 4, `${relay.opened} connections: the wire was never cut`);
  assert.equal(writer.room.outbox.length, 0);
});

test("an answer that is lost is no reason to send twice", async (t) => {
  const relay = await Relay.to(hub.port, t);
  const reader = await member("reader", "deaf");
  const writer = await member("writer", "deaf", { url: relay.url });
  relay.deaf = true;
  const fate = writer.room.send("message 1");
  await until("the hub has it", () => reader.got.length === 1);
  relay.cut();
  assert.equal((await fate).seq, 1);
  await writer.room.send("message 2");
  await until("the reader has both", () => reader.got.length === 2);
  assert.deepEqual(reader.got, numbered(2));
  await until("the writer has both", () => writer.got.length === 2);
  assert.deepEqual(writer.got, numbered(2));
});

test("resume: what was missed comes, then what is live, and the state says so", async (t) => {
  const relay = await Relay.to(hub.port, t);
  const away = await member("away", "missed", { url: relay.url });
  const timeline = new Timeline(away.room);
  const writer = await member("writer", "missed");
  await writer.room.send("message 1");
  await until("live", () => away.got.length === 1);
  away.made.states.length = 0;
  relay.cut({ refusing: true });
  for (let n = 2; n <= 40; n += 1) await writer.room.send(`message ${n}`);
  assert.equal(away.got.length, 1);
  assert.equal(away.made.state.name, "offline");
  assert.ok(away.made.state.retryAt > 0);
  relay.refusing = false;
  away.made.retryNow();
  await until("all came", () => away.got.length === 40);
  await writer.room.send("message 41");
  await until("live again", () => away.got.length === 41);
  assert.deepEqual(away.got, numbered(41));
  assert.deepEqual(timeline.messages.map(({ seq, message }) => [seq, message]), numbered(41));
  assert.deepEqual(away.made.states.filter((name) => name !== "connecting" && name !== "offline"), ["catching_up", "live"]);
});

test("too far behind: reset, and a timeline that shows the newest", async (t) => {
  const own = await Hub.start({ "limits.replay_resume": 500 }, t);
  own.command("user", "admin", "root");
  const relay = await Relay.to(own.port, t);
  const away = await member("away", "far", { url: relay.url });
  const timeline = new Timeline(away.room);
  await until("loaded", () => timeline.state === "ready");
  let reset = null;
  away.room.on("reset", (how) => (reset = how));
  relay.cut({ refusing: true });
  for (let n = 1; n <= 520; n += 20) {
    await Promise.all(Array.from({ length: 20 }, (_, k) => own.api("root", "POST", "/api/rooms/far/messages", { message: `message ${n + k}` })));
  }
  relay.refusing = false;
  away.made.retryNow();
  await until("reset", () => reset);
  assert.deepEqual([reset.after, reset.head], [0, 520]);
  await until("the newest page", () => timeline.state === "ready" && timeline.messages.length === 50);
  const seqs = () => timeline.messages.map(({ seq }) => seq);
  assert.deepEqual(seqs(), Array.from({ length: 50 }, (_, n) => 471 + n));
  while (timeline.more) assert.ok(await timeline.older());
  assert.deepEqual(seqs(), Array.from({ length: 520 }, (_, n) => n + 1));
  timeline.trim(100);
  assert.deepEqual([timeline.messages.length, timeline.messages[0].seq, timeline.more], [100, 421, true]);
  assert.ok(await timeline.older());
  assert.deepEqual(seqs()[0], 371);
  away.made.close();
});

test("a hub that crashes and one that stops: back by itself, nothing lost", async (t) => {
  const own = await Hub.start({ "server.stop_timeout": "5s" }, t);
  const reader = await member("reader", "restarts", { url: own.url });
  const writer = await member("writer", "restarts", { url: own.url });
  const byes = [];
  for (const signal of ["SIGKILL", "SIGTERM"]) {
    await writer.room.send(`before ${signal}`);
    await own.end(signal);
    const meanwhile = writer.room.send(`during ${signal}`);
    await until("offline", () => writer.made.state.name === "offline" || writer.made.state.name === "connecting");
    byes.push(writer.made.state.asked);
    await own.restart();
    await meanwhile;
  }
  await until("all four", () => reader.got.length === 4);
  assert.deepEqual(reader.got.map(([, text]) => text), ["before SIGKILL", "during SIGKILL", "before SIGTERM", "during SIGTERM"]);
  assert.deepEqual(reader.got.map(([seq]) => seq), [1, 2, 3, 4]);
  writer.made.close();
  reader.made.close();
});

test("a bye is honoured: back after the time that the hub asks for", async (t) => {
  const own = await Hub.start({ "server.stop_timeout": "5s" }, t);
  const { made } = await member("alice", "bye", { url: own.url });
  // Looked at as it comes: the time that the hub asks for may be over before the hub has ended.
  const asked = new Promise((told) => made.on("state", (state) => {
    if (state.name !== "offline" || !state.asked) return;
    made.retryNow();
    told(made.state.name);
  }));
  await own.end("SIGTERM");
  assert.equal(await asked, "offline", "the hub's wait is not cut short");
  await own.restart();
  await until("live again", () => made.state.name === "live", 30_000);
  made.close();
});

test("the token is refreshed on the open socket, and again after it has ended", async (t) => {
  const own = await Hub.start({ "auth.expiry_notice": "1s" }, t);
  const asked = [];
  const short = (how) => {
    asked.push(how.renew);
    return token("alice", { lifetime: 3 });
  };
  const { made, room } = await member("alice", "tokens", { url: own.url, token: short });
  made.states.length = 0;
  const hello = [];
  made.on("hello", (frame) => hello.push(frame.session));
  await new Promise((done) => setTimeout(done, 9_500));
  assert.ok(asked.filter(Boolean).length >= 2, `asked for a new one: ${asked}`);
  assert.deepEqual([made.states, hello], [[], []], "one socket, longer than three tokens");
  assert.equal((await room.send("still here")).seq, 1);
  made.close();
});

test("a token that ends without another: closed with 4001, then back with a new one", async (t) => {
  const own = await Hub.start({ "auth.expiry_notice": "1s" }, t);
  let ready = false;
  let renewals = 0;
  const source = async ({ renew }) => {
    if (renew && !ready) {
      renewals += 1;
      throw new Error("the app's own server is away");
    }
    return token("alice", { lifetime: ready ? 600 : 2 });
  };
  const { made, room, got } = await member("alice", "late", { url: own.url, token: source });
  await until("closed for its token's end", () => made.state.name === "offline", 15_000);
  const fate = room.send("message 1");
  await until("asked again and again", () => renewals >= 3);
  ready = true;
  assert.equal((await fate).seq, 1);
  await until("delivered", () => got.length === 1);
  made.close();
});

test("no token any more: closed, and that is said", async () => {
  const signedOut = client("x", { token: () => null });
  await until("closed", () => signedOut.state.name === "closed");
  assert.equal(signedOut.state.reason, "signed_out");
  const fixed = client("x", { token: token("x", { lifetime: -10 }) });
  await until("closed", () => fixed.state.name === "closed");
  assert.equal(fixed.state.reason, "signed_out", "a fixed token can't be renewed");
  await assert.rejects(fixed.call("GET", path("me")), SignedOut);
});

test("what an admin does: closed sessions stay away, a ban ends a room and no other", async () => {
  hub.command("user", "admin", "root");
  await hub.api("root", "POST", "/api/rooms", { name: "banned" });
  const { made, room } = await member("mallory", "banned");
  const other = made.room("other");
  await other.join();
  await room.send("hello");
  const left = new Promise((heard) => room.on("left", heard));
  await hub.api("root", "PUT", "/api/rooms/banned/bans/mallory", { reason: "spam" });
  const { error, banned, reason } = await left;
  assert.deepEqual([error.code, banned, reason, room.joined, other.joined], ["banned", true, "spam", false, true]);
  await assert.rejects(room.join(), (refusal) => refusal instanceof HubError && refusal.code === "banned");
  await assert.rejects(room.send("x"), { code: "not_joined" });
  const { sessions } = await hub.api("root", "GET", "/api/admin/users/mallory/sessions");
  await hub.api("root", "POST", `/api/admin/sessions/${sessions[0].session}/close`);
  await until("closed", () => made.state.name === "closed");
  assert.deepEqual([made.state.code, made.state.reason], [4505, "closed_by_admin"]);
  await new Promise((done) => setTimeout(done, 1_500));
  assert.equal(made.state.name, "closed", "it does not come back by itself");
  made.connect();
  await until("but does when told to", () => made.state.name === "live");
  assert.ok(other.joined);
});

test("what the hub refuses fails with its code, and can be given up", async () => {
  const { made, room } = await member("alice", "refusals");
  await assert.rejects(room.send(" "), { code: "empty" });
  await assert.rejects(room.send("x".repeat(4_001)), { code: "too_long" });
  assert.deepEqual(room.outbox.map(({ state }) => state), ["failed", "failed"]);
  const again = room.outbox[0].clientId;
  room.retry(again);
  await until("refused again", () => room.outbox.every(({ state }) => state === "failed"));
  room.outbox.forEach(({ clientId }) => room.discard(clientId));
  assert.equal(room.outbox.length, 0);
  assert.equal((await room.send("fine", { clientId: "once" })).seq, 1);
  await until("its event came", () => room.cursor === 1);
  assert.deepEqual(await room.send("fine", { clientId: "once" }), { ...(await room.send("fine", { clientId: "once" })), repeat: true });
  await assert.rejects(room.send("other", { clientId: "once" }), { code: "client_id_reused" });
  await assert.rejects(made.room("no such name").join(), { code: "bad_room_name" });
  await assert.rejects(made.call("GET", path("rooms", "nowhere")), { code: "room_not_found", status: 404 });
  await assert.rejects(new Hubbub("http://127.0.0.1:1", { token: "x", WebSocket }).call("GET", path("me")), { code: "network" });
});

test("joining and leaving while others write: from the join on there is no gap", async (t) => {
  const relay = await Relay.to(hub.port, t);
  relay.lump = 40;
  const writer = await member("writer", "busy");
  let writing = true;
  const written = (async () => {
    while (writing) await Promise.all([1, 2, 3, 4].map((n) => writer.room.send(`line ${n}`)));
  })();
  const reader = client("reader", { url: relay.url });
  const room = reader.room("busy");
  for (let round = 0; round < 20; round += 1) {
    const seqs = [];
    const ends = [room.on("joined", ({ head }) => seqs.push(head)), room.on("message", ({ seq }) => seqs.push(seq))];
    const joined = room.join();
    if (round % 4 === 3) {
      // Changed their mind, twice, before the answer came.
      room.leave();
      await assert.rejects(joined, { code: "not_joined" });
      await room.join();
    } else {
      await joined;
    }
    await until("some messages", () => seqs.length > 5);
    ends.forEach((end) => end());
    room.leave();
    assert.ok(seqs.every((seq, index) => index === 0 || seq === seqs[index - 1] + 1), `a gap: ${seqs}`);
  }
  writing = false;
  await written;
});

test("fifty rooms at once, and over the rate: all are joined and joined again", async (t) => {
  const relay = await Relay.to(hub.port, t);
  const made = client("many", { url: relay.url });
  const rooms = Array.from({ length: 50 }, (_, n) => made.room(`many-${n}`));
  await Promise.all(rooms.map((room) => room.join()));
  made.focus = rooms[49];
  const order = [];
  rooms.forEach((room) => room.on("joined", () => order.push(room)));
  relay.cut();
  await until("all again", () => order.length === 50 && made.state.name === "live", 30_000);
  assert.equal(order[0], rooms[49], "the one in view first");
  const burst = Array.from({ length: 100 }, (_, n) => rooms[0].send(`message ${n + 1}`));
  const stored = await Promise.all(burst);
  assert.deepEqual(stored.map(({ seq }) => seq), numbered(100).map(([seq]) => seq), "rate limited, not lost");
});

test("accounts of the hub's own: sign-in, errors by field, tokens that renew themselves", async (t) => {
  const own = await Hub.start({ "accounts.access_lifetime": "2s", "auth.expiry_notice": "1s" }, t);
  const kept = new Map();
  const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: (key) => kept.delete(key) };
  const accounts = new Accounts(own.url, { storage });
  await assert.rejects(accounts.register("eve", "short"), (error) => error.fields.password.length > 0);
  await accounts.register("eve", "correct horse");
  assert.ok(accounts.signedIn && kept.size === 1);
  const later = new Accounts(own.url, { storage });
  const { made, room } = await member("eve", "accounts", { url: own.url, token: later.token });
  await new Promise((done) => setTimeout(done, 3_000));
  assert.equal((await made.call("GET", path("me"))).user_id, "hub:eve");
  assert.equal((await room.send("hi")).seq, 1);
  await assert.rejects(accounts.signIn("eve", "wrong horse"), { status: 401 });
  later.signOut();
  assert.equal(kept.size, 0);
  await assert.rejects(made.call("GET", path("me")), SignedOut);
  assert.deepEqual([made.state.name, made.state.reason], ["closed", "signed_out"]);
});
