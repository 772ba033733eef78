// The types of hubbub.js. A test has tsc hold them against the code and against a program that uses all of them.

/** A message of a room, as the hub sends it. */
export interface Message {
  type: "message";
  room: string;
  /** Its number in the room: 1, 2, 3… without a hole. (room, seq) names a message. */
  seq: number;
  /** The sender's name at sending, and who that is. */
  user: string;
  user_id: string;
  message: string;
  /** RFC 3339, UTC, to the millisecond. */
  timestamp: string;
  client_id?: string;
  data?: unknown;
}

/** A numbered event of a kind that is no message. */
export interface RoomEvent {
  type: string;
  room: string;
  seq: number;
  [field: string]: unknown;
}

export interface User {
  user_id: string;
  user: string;
}

export interface Presence {
  count: number;
  users: User[];
}

/** A page of history, ascending. `more`: there are more on that side. */
export interface Page {
  messages: Message[];
  head: number;
  more: boolean;
}

/** A message that is not known to be stored. */
export interface Pending {
  readonly clientId: string;
  readonly message: string;
  readonly data?: unknown;
  /** When it was sent, RFC 3339. */
  readonly since: string;
  readonly state: "sending" | "failed";
  /** Why it failed; of one that is still sent, why the last try did. */
  readonly error: HubError | null;
}

export interface Stored {
  seq: number;
  timestamp: string;
  /** Whether an earlier try had stored it already. */
  repeat: boolean;
  clientId: string;
}

export type State =
  | { name: "connecting" | "catching_up" | "live" }
  /** Tries again at `retryAt` (milliseconds since 1970); `asked` where the hub asked for that wait. */
  | { name: "offline"; retryAt?: number; asked?: boolean }
  /** Does not come back by itself. `code` is a close code; `reason` its name, or "signed_out", or "user_changed". */
  | { name: "closed"; code: number; reason: string };

export interface Hello {
  type: "hello";
  session: string;
  user: string;
  user_id: string;
  protocol: string;
  features: string[];
  limits: Limits;
  ping_interval_ms: number;
  token_expires_in_ms: number;
}

export interface Limits {
  message_chars: number;
  data_bytes: number;
  frame_bytes: number;
  commands_per_second: number;
  rooms: number;
}

/** Gives an access token; null where there is none. Called with `renew` where the last one was refused or has ended. */
export type TokenSource = (how: { renew: boolean }) => string | null | Promise<string | null>;

/** What tells of events; `on` gives the function that ends the listening. */
declare class Emitter<Events> {
  on<Name extends keyof Events>(name: Name, listener: (detail: Events[Name]) => void): () => void;
}

export interface HubbubOptions {
  /** An access token, or what gets one. */
  token: string | TokenSource;
  /** Where there is no global one, such as that of the package `ws` in Node before 22. */
  WebSocket?: new (address: string, protocol: string) => unknown;
  fetch?: typeof globalThis.fetch;
}

export interface HubbubEvents {
  state: State;
  hello: Hello;
  message: Message;
  typing: User & { room: string };
  read: { room: string; seq: number };
  member_added: { room: string; user_id: string; role: string };
  member_removed: { room: string; user_id: string; banned?: boolean; until?: string | null; reason?: string | null };
  room_updated: { room: string; title: string };
  lagged: { room: string; reset?: boolean };
}

/** A client of one hub: one connection, which comes back by itself, and the rooms on it. */
export class Hubbub extends Emitter<HubbubEvents> {
  constructor(address: string, options: HubbubOptions);
  readonly state: State;
  readonly user: { id: string; name: string } | null;
  readonly limits: Limits | null;
  /** The room that is joined first after a reconnect. */
  focus: Room | null;
  connect(): this;
  /** Ends the connection, for good or until the next connect(). Rooms keep their cursors and what they have to send. */
  close(): void;
  /** Tries to connect now where it waits to. */
  retryNow(): void;
  /** The room of that name: the same object each time. */
  room(name: string): Room;
  /** Sends a command of the protocol and gives its reply; rejects with a HubError or ConnectionLost. */
  request(command: { type: string; [field: string]: unknown }): Promise<any>;
  /** A call of the HTTP API as the user: `hub.call("GET", path("rooms", name, "members"))`. */
  call(method: string, path: string, options?: { query?: Record<string, unknown>; body?: unknown }): Promise<any>;
}

export interface RoomEvents {
  /** Live and missed ones: each once, in order. */
  message: Message;
  event: RoomEvent;
  joined: { head: number; replay: number; first: boolean };
  /** The hub can't go on from `after` (the cursor there was): load the history again. Events go on after `head`. */
  reset: { head: number; epoch: string; after: number };
  /** Left by oneself (`error` is null), refused, or taken out. */
  left: { error: HubError | null; /** What was not sent, and is not any more. */ unsent: readonly Pending[]; banned?: boolean; until?: string | null; reason?: string | null };
  outbox: readonly Pending[];
  /** One's own message was stored; its event may come before or after. */
  sent: { room: string; seq: number; timestamp: string; message: string; data?: unknown; client_id: string };
  typing: User & { room: string };
  read: { room: string; seq: number };
  members: { type: string; room: string; user_id: string; role?: string };
  updated: { room: string; title: string };
  /** This client reads too slowly; the hub catches it up by itself. */
  lagged: undefined;
}

/** One room. Get it from `hub.room(name)`. */
export class Room extends Emitter<RoomEvents> {
  private constructor();
  readonly name: string;
  /** Whose client this is, once known. */
  readonly user: { id: string; name: string } | null;
  /** The seq of the last event received; null before the first join. */
  readonly cursor: number | null;
  readonly epoch: string | undefined;
  readonly wanted: boolean;
  readonly joined: boolean;
  readonly catchingUp: boolean;
  readonly outbox: readonly Pending[];
  /** Joins from a cursor, or from now on, and stays, through lost connections. Rejects with a HubError. */
  join(from?: { after?: number; epoch?: string }): Promise<this>;
  leave(): void;
  /** Resolves when stored. A lost connection, a full queue, a database that is away: it is sent again, and never twice. */
  send(message: string, options?: { data?: unknown; clientId?: string }): Promise<Stored>;
  /** Sends a failed message again, or gives one up. */
  retry(clientId: string): void;
  discard(clientId: string): void;
  history(range?: { before?: number; after?: number; around?: number; limit?: number }): Promise<Page>;
  read(seq: number): Promise<{ room: string; seq: number }>;
  presence(): Promise<Presence>;
  /** Call it at each key; it is told once in 3 s. */
  typing(): void;
}

export interface TimelineEvents {
  change: undefined;
  /** A message that is new at the end. */
  news: Message;
}

/** A room's messages as one reads them: pages of history and live ones in one list, by seq, none twice. */
export class Timeline extends Emitter<TimelineEvents> {
  constructor(room: Room, options?: { page?: number });
  readonly messages: readonly Message[];
  readonly state: "loading" | "ready" | "older" | "failed";
  /** Whether there are older ones. */
  readonly more: boolean;
  load(): Promise<void>;
  /** Loads the page before; says whether that worked. */
  older(): Promise<boolean>;
  /** Forgets the oldest beyond so many. */
  trim(most: number): void;
  close(): void;
}

export interface AccountsOptions {
  /** Keeps the refresh token, such as localStorage. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
  key?: string;
  fetch?: typeof globalThis.fetch;
}

/** The hub's own accounts, for apps without users of their own. `new Hubbub(address, { token: accounts.token })`. */
export class Accounts {
  constructor(address: string, options?: AccountsOptions);
  readonly signedIn: boolean;
  /** The refresh token as the storage has it now. */
  readonly kept: string | null;
  signIn(username: string, password: string): Promise<void>;
  register(username: string, password: string): Promise<void>;
  /** Makes the first admin, with the token of the set-up link. */
  setUp(token: string, username: string, password: string): Promise<void>;
  signOut(): void;
  readonly token: TokenSource;
}

/** An answer that is no success, or none at all (`code` "network" or "timeout"). */
export class HubError extends Error {
  constructor(about: { code?: string; message?: string; status?: number; retryable?: boolean; retry_after_ms?: number; fields?: object | null });
  readonly code: string;
  readonly status: number;
  readonly retryable: boolean;
  readonly retryAfterMs: number;
  /** Of the accounts: what is wrong, by field. */
  readonly fields: Record<string, string[]> | null;
  /** What was answered in another shape than the hub's errors have, such as that of /health/ready. */
  readonly answer: any;
}

/** The connection went before the reply came. */
export class ConnectionLost extends Error {
  readonly code: "connection_lost";
}

/** Thrown by a token source, and by calls: nothing helps but signing in again. */
export class SignedOut extends Error {
  constructor(message?: string);
  readonly code: "signed_out";
}

/** A path under /api, each part encoded. */
export function path(...parts: string[]): string;
