// A program that uses all of the client's types; tsc checks it. Each `@ts-expect-error` is a mistake that the types must catch.

import {
  Accounts, ConnectionLost, Hubbub, HubError, Room, SignedOut, Timeline, path,
  type Message, type Pending, type State, type Stored,
} from "../../../web/client/hubbub.js";

const accounts = new Accounts("https://chat.example.com", { storage: localStorage, key: "mine" });
await accounts.signIn("alice", "correct horse");
if (!accounts.signedIn) await accounts.register("alice", "correct horse");
await accounts.setUp("token", "root", "correct horse");

const hub = new Hubbub("https://chat.example.com", { token: accounts.token, WebSocket, fetch }).connect();
new Hubbub("https://chat.example.com", { token: "a.b.c" });
new Hubbub("https://chat.example.com", { token: async ({ renew }) => (renew ? null : "a.b.c") });
// @ts-expect-error a token is needed
new Hubbub("https://chat.example.com", {});

const say = (text: string): void => console.log(text);
const end: () => void = hub.on("state", (state: State) => {
  if (state.name === "offline" && state.retryAt) say(new Date(state.retryAt).toISOString());
  if (state.name === "closed") say(`${state.code} ${state.reason}`);
  // @ts-expect-error live has no reason
  if (state.name === "live") say(state.reason);
});
end();
hub.on("member_added", ({ room, role }) => say(room + role));
// @ts-expect-error no such event
hub.on("massage", () => {});

const room: Room = hub.room("lobby");
hub.focus = room;
room.on("message", (message: Message) => say(`${message.seq} ${message.user}: ${message.message}`));
room.on("outbox", (pending: readonly Pending[]) => pending.forEach(({ clientId, state }) => state === "failed" && room.retry(clientId)));
room.on("left", ({ error, banned, until, reason }) => say(`${error?.code} ${banned} ${until} ${reason}`));
room.on("reset", ({ after, head }) => say(String(head - after)));
await room.join({ after: 41, epoch: "k3Fq" });
const stored: Stored = await room.send("hi", { data: { any: ["json"] }, clientId: "mine" });
// @ts-expect-error the number is no text
const text: string = stored.seq;
await room.read(stored.seq);
room.typing();
say(String((await room.presence()).users[0]?.user_id));
const { messages, more } = await room.history({ before: 10, limit: 100 });
say(`${messages.length} ${more} ${text}`);

const timeline = new Timeline(room, { page: 100 });
timeline.on("news", ({ seq }) => say(String(seq)));
if (timeline.state === "ready" && timeline.more && (await timeline.older())) timeline.trim(300);
timeline.close();

try {
  await hub.call("GET", path("rooms", room.name, "members"), { query: { limit: 10 } });
  await hub.request({ type: "ping" });
} catch (error) {
  if (error instanceof HubError && error.retryable) say(`${error.code} ${error.retryAfterMs}`);
  if (error instanceof ConnectionLost || error instanceof SignedOut) say(error.code);
}
room.leave();
hub.retryNow();
hub.close();
accounts.signOut();
