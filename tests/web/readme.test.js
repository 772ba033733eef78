// The README's examples of the client, in plain HTML and in React, run as they are written: on a page of another origin, with a
// token of the app.

import assert from "node:assert/strict";
import { build } from "esbuild";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, watch } from "./browser.js";
import { Hub, token, until } from "./hub.js";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const example = (language) => readme.match(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, "s"))[1].replaceAll("http://127.0.0.1:8000", hub.url);

let hub, browser;
before(async () => {
  hub = await Hub.start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await hub?.stop();
});

/** Opens a page of another origin that has these files, as somebody with a token. */
async function open(t, files, user) {
  const server = createServer(({ url }, response) => {
    response.setHeader("Content-Type", url.endsWith(".js") ? "text/javascript" : "text/html; charset=utf-8");
    response.end(files[url] ?? "");
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => server.close());
  const page = await (await browser.newContext()).newPage();
  watch(browser, page);
  await page.addInitScript((given) => localStorage.setItem("token", given), token(user));
  await page.goto(`http://localhost:${server.address().port}/`);
  return page;
}

async function talk(page, user) {
  const form = page.locator("form");
  await form.waitFor();
  await form.locator("input").fill(`hello from ${user}`);
  await page.waitForTimeout(300); // It joins its room.
  await form.locator("input").press("Enter");
  await page.getByText(`hello from ${user}`).waitFor();
  await hub.api("bob", "POST", "/api/rooms/lobby/messages", { message: `hello ${user}` });
  await page.getByText(`hello ${user}`).waitFor();
  // A hub that crashes and comes back: nothing has to be done.
  await hub.end("SIGKILL");
  await form.locator("input").fill(`kept for ${user}`);
  await form.locator("input").press("Enter");
  await hub.restart();
  await page.getByText(`kept for ${user}`).first().waitFor({ timeout: 40_000 });
  await until("stored", async () => {
    const { messages } = await hub.api(user, "GET", "/api/rooms/lobby/messages");
    return messages.filter((one) => one.message === `kept for ${user}` && one.user_id === user).length === 1;
  });
  assert.deepEqual(browser.faults.splice(0), []);
}

test("in plain HTML", async (t) => {
  await talk(await open(t, { "/": example("html") }, "hanna"), "hanna");
});

test("in React", async (t) => {
  const start = `import { createRoot } from "react-dom/client"; createRoot(document.body.firstElementChild).render(<Chat name="lobby" />);`;
  const { outputFiles } = await build({
    stdin: { contents: `${example("jsx")}\n${start}`, loader: "jsx", resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
    bundle: true, write: false, format: "esm", jsx: "automatic", define: { "process.env.NODE_ENV": '"development"' },
    alias: { "hubbub-client": fileURLToPath(new URL("../../web/client", import.meta.url)) },
  });
  const files = { "/": '<!doctype html><body><div></div><script type="module" src="/app.js"></script>', "/app.js": outputFiles[0].text };
  await talk(await open(t, files, "rita"), "rita");
});
