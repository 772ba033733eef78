// A real hub for a test: the binary that HUBBUB_BIN names, a folder of its own, a port that stays the same over a restart, and
// tokens as an app signs them.

import { spawn, spawnSync } from "node:child_process";
import { createHmac, randomUUID, webcrypto } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

globalThis.crypto ??= webcrypto; // Node 18 has it, but not by this name.

export const SECRET = "an app's own secret key, of more than thirty-two bytes";
const BINARY = resolve(process.env.HUBBUB_BIN ?? "target/debug/hubbub");

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** An access token of the app, as simplejwt makes it. */
export function token(user, { name = user, lifetime = 3_600 } = {}) {
  const now = Math.floor(Date.now() / 1_000);
  const claims = { token_type: "access", user_id: user, username: name, iat: now, exp: now + lifetime, jti: randomUUID() };
  const text = `${base64url({ alg: "HS256", typ: "JWT" })}.${base64url(claims)}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

export class Hub {
  /** `settings` by key: {"limits.heartbeat": "2s"}. It ends with the test that is given. */
  static async start(settings = {}, test = null) {
    const hub = new Hub();
    test?.after(() => hub.stop());
    hub.folder = mkdtempSync(join(tmpdir(), "hubbub-web-"));
    hub.port = await freePort();
    hub.url = `http://127.0.0.1:${hub.port}`;
    const named = Object.entries(settings).map(([key, value]) => [`HUBBUB__${key.toUpperCase().replaceAll(".", "__")}`, String(value)]);
    hub.environment = {
      ...process.env, HUBBUB__AUTH__SECRET: SECRET, HUBBUB__SERVER__BIND: `127.0.0.1:${hub.port}`, RUST_LOG: "warn",
      ...Object.fromEntries(named),
    };
    await hub.restart();
    return hub;
  }

  /** Starts it on its folder; resolves when it listens. `said` is what it printed. */
  async restart() {
    this.process = spawn(BINARY, [], { cwd: this.folder, env: this.environment, stdio: ["ignore", "pipe", "ignore"] });
    this.said = [];
    const lines = createInterface({ input: this.process.stdout });
    await new Promise((listens, failed) => {
      this.process.once("exit", (code) => failed(new Error(`the hub ended with ${code}`)));
      this.process.once("error", failed);
      lines.on("line", (line) => {
        this.said.push(line);
        if (line.startsWith("hubbub listens on")) listens();
      });
    });
  }

  /** Ends it by a signal and waits for that. */
  async end(signal = "SIGTERM") {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = new Promise((done) => this.process.once("exit", done));
    this.process.removeAllListeners("error");
    this.process.kill(signal);
    await gone;
  }

  async stop() {
    await this.end("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** The command line in the hub's folder. */
  command(...words) {
    const { status, stderr } = spawnSync(BINARY, words, { cwd: this.folder, env: this.environment, encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
  }

  /** Holds the database's write lock, as somebody else's program may; gives the function that lets it go. */
  async lock() {
    const hold = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30); c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()";
    const holder = spawn("python3", ["-c", hold, join(this.folder, "data/hubbub.db")], { stdio: ["pipe", "pipe", "inherit"] });
    await new Promise((held) => holder.stdout.once("data", held));
    const gone = new Promise((done) => holder.once("exit", done));
    return () => {
      holder.stdin.end();
      return gone;
    };
  }

  /** A call of the API as this user. */
  async api(user, method, path, body) {
    const response = await fetch(this.url + path, {
      method, headers: { Authorization: `Bearer ${token(user)}`, "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.status === 204 ? null : response.json();
  }
}

/** Waits until something is so. */
export async function until(what, condition, ms = 15_000) {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    const found = await condition();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`not within ${ms} ms: ${what}`);
}
