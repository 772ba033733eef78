// Both languages of each page have the same texts: what English has in its module Korean has too, and what stands in the HTML.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const web = new URL("../../web/", import.meta.url);
const read = (path) => readFileSync(new URL(path, web), "utf8");

for (const page of readdirSync(web).filter((folder) => existsSync(new URL(`${folder}/ko.js`, web)))) {
  test(`${page}: both languages say the same things`, async () => {
    const [{ texts: english }, { texts: korean }] = await Promise.all(["en", "ko"].map((language) => import(new URL(`${page}/${language}.js`, web))));
    const inHtml = new Set([...read(`${page}/index.html`).matchAll(/data-t(?:-[a-z-]+)?="([^"]+)"/g)].map(([, key]) => key));
    const own = Object.keys(korean).filter((key) => key !== "own");
    assert.deepEqual(own.filter((key) => !(key in english) && !inHtml.has(key)), [], "Korean for nothing");
    assert.deepEqual([...Object.keys(english), ...inHtml].filter((key) => !(key in korean)), [], "not in Korean");
    assert.deepEqual(Object.keys(english.errors), Object.keys(korean.errors), "errors");
    for (const [key, text] of Object.entries(english)) {
      if (key in korean) assert.equal(typeof korean[key], typeof text, key);
    }
    // Each key that the page's modules ask for is there.
    const modules = [page, "shared"].flatMap((folder) => readdirSync(new URL(folder, web)).filter((name) => name.endsWith(".js")).map((name) => read(`${folder}/${name}`)));
    const asked = modules.flatMap((source) => [...source.matchAll(/\bt\("([a-z-]+)"/g)].map(([, key]) => key));
    assert.deepEqual([...new Set(asked)].filter((key) => !(key in english) && !inHtml.has(key)), [], "asked for and in no language");
  });
}
