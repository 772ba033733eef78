// The client's types: tsc accepts them and a program that uses all of them, and they name what the code has, no more and no less.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import ts from "typescript";
import * as client from "../../web/client/hubbub.js";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const declarations = ts.createSourceFile(
  "hubbub.d.ts", readFileSync(here("../../web/client/hubbub.d.ts"), "utf8"), ts.ScriptTarget.ES2022, true);
/** What a room and the hub use of each other, and apps do not. */
const INTERNAL = {
  Hubbub: ["judge", "joinWanted", "send", "emit"],
  Room: ["awaits", "entering", "entered", "refused", "down", "take", "emit"],
  Timeline: ["emit"],
};

test("tsc accepts the types and what uses them", () => {
  const tsc = here("node_modules/typescript/bin/tsc");
  const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", here("types")], { encoding: "utf8" });
  assert.equal(stdout, "");
  assert.equal(status, 0);
});

const isPrivate = ({ modifiers }) => modifiers?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword);

/** The names of a class's public members, as the types have them. */
function declared(name) {
  const found = declarations.statements.find((one) => ts.isClassDeclaration(one) && one.name.text === name);
  const own = found.members.filter((member) => member.name && !isPrivate(member)).map((member) => member.name.text);
  const parents = found.heritageClauses?.flatMap(({ types }) => types.map(({ expression }) => expression.text)) ?? [];
  return [...own, ...parents.filter((parent) => parent === "Emitter").flatMap(declared)];
}

/** Those that an object has, own and inherited; not those of Object and Error. */
function actual(object) {
  const names = new Set(Object.getOwnPropertyNames(object));
  for (let kind = Object.getPrototypeOf(object); kind && kind !== Object.prototype && kind !== Error.prototype; kind = Object.getPrototypeOf(kind)) {
    Object.getOwnPropertyNames(kind).forEach((name) => names.add(name));
  }
  return [...names].filter((name) => !["constructor", "stack", "message", "name"].includes(name) || (name === "name" && object instanceof client.Hubbub));
}

test("the types name what the code has", () => {
  const hub = new client.Hubbub("http://127.0.0.1:1", { token: "x" });
  const room = hub.room("lobby");
  room.history = () => new Promise(() => {});
  const objects = {
    Hubbub: hub, Room: room, Timeline: new client.Timeline(room), Accounts: new client.Accounts("http://127.0.0.1:1"),
    HubError: new client.HubError({ code: "x" }), ConnectionLost: new client.ConnectionLost(), SignedOut: new client.SignedOut(),
  };
  for (const [name, object] of Object.entries(objects)) {
    const internal = INTERNAL[name] ?? [];
    const own = actual(object).filter((member) => !internal.includes(member)).sort();
    assert.deepEqual(own, declared(name).filter((member) => member !== "name").sort(), name);
  }
  const exported = declarations.statements.filter((one) =>
    (ts.isClassDeclaration(one) || ts.isFunctionDeclaration(one)) && one.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword));
  assert.deepEqual(exported.map(({ name }) => name.text).sort(), Object.keys(client).sort());
});
