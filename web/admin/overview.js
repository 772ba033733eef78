// Owns the overview: is it healthy, what does it do, what is slow. The figures are asked for every 2 s, the charts' points every 5 s,
// while somebody looks; when the hub is away, what is shown stays, and that is said.

import { path } from "../client/hubbub.js";
import { byId, el, keyed, say, show } from "../shared/dom.js";
import { t } from "../shared/language.js";
import { Chart } from "./charts.js";
import { bytes, count, duration, perSecond, time } from "./numbers.js";

const STATS_MS = 2_000;
const POINTS_MS = 5_000;
const POINTS = 720;
/** A queue so full is worth a look. */
const ALARM = 0.8;

const CHARTS = [
  ["connections", "sessions", count], ["messages-rate", "messages_per_s", perSecond], ["deliveries-rate", "deliveries_per_s", perSecond],
  ["commit", "commit_p99_us", time], ["delivery", "delivery_p99_us", time], ["lagging", "lagging", count], ["errors-rate", "errors_per_s", perSecond],
  ["memory", "resident_bytes", bytes, 1_048_576],
];
/** What waits where: the figure in a node's report, the bound's name, and how a value is written. */
const QUEUES = [
  ["q-server", "/queues/server", "server_queue", count], ["q-writer", "/writer/queue", "writer_queue", count],
  ["q-dispatchers", "/queues/dispatchers", "dispatcher_queue", count], ["q-mirror", "/mirror/queue", "mirror_queue", count],
  ["q-marks", "/queues/read_marks", "read_marks", count], ["q-passwords", "/queues/password_checks", "password_queue", count],
  ["q-recent", "/memory/recent_bytes", "recent_total_bytes", bytes], ["q-sessions", "/sessions/total", "sessions", count],
];

const at = (object, pointer) => pointer.split("/").slice(1).reduce((inner, name) => inner?.[name], object) ?? 0;

export class Overview {
  #hub;
  #charts = CHARTS.map((about) => new Chart(...about));
  #points = [];
  #stats = null;
  #health = null;

  constructor(hub) {
    this.#hub = hub;
    byId("charts").replaceChildren(...this.#charts.map(({ node }) => node));
    this.#every(STATS_MS, () => this.#ask());
    this.#every(POINTS_MS, () => this.#askPoints());
  }

  /** Again and again, one at a time, while the page is looked at. */
  async #every(ms, work) {
    for (;;) {
      if (document.visibilityState === "visible") {
        try {
          await work();
          show(byId("away"), false);
        } catch (error) {
          // Signed out: the page is about to be loaded anew.
          if (error.code === "signed_out") return;
          say(byId("away"), t("away"));
        }
      }
      await new Promise((done) => setTimeout(done, ms));
    }
  }

  async #ask() {
    const [stats, health] = await Promise.all([
      this.#hub.call("GET", path("admin", "stats")),
      this.#hub.call("GET", "/health/ready").catch((error) => {
        if (!error.answer?.status) throw error;
        return error.answer;
      }),
    ]);
    this.#stats = stats;
    this.#health = health;
    this.#draw();
  }

  async #askPoints() {
    const after = this.#points.at(-1);
    const { points } = await this.#hub.call("GET", path("admin", "history"), { query: { after: after && new Date(after.at).toISOString() } });
    const known = after?.at ?? 0;
    const news = points.map((point) => ({ ...point, at: Date.parse(point.at) })).filter((point) => point.at > known);
    this.#points = [...this.#points, ...news].slice(-POINTS);
    this.#charts.forEach((chart) => chart.draw(this.#points));
  }

  #draw() {
    const { cluster, limits } = this.#stats;
    const { sum, nodes, redis } = cluster;
    // Each queue where it is fullest: a sum over nodes would hide the one that is full.
    const queues = QUEUES.map(([key, pointer, bound, write]) => ({ key, write, value: Math.max(...nodes.map((node) => at(node, pointer))), most: limits[bound] ?? 0 }));
    const full = queues.filter(({ value, most }) => most > 0 && value > ALARM * most);
    this.#drawHealth({ sum, redis, full });
    keyed(byId("queues"), queues, ({ key }) => key, ({ key, value, most, write }) => bar(t(key), value, most, t("of", write(value), write(most)), value > ALARM * most));
    const busiest = sum.busiest ?? [];
    const first = busiest[0]?.messages_1m ?? 1;
    keyed(byId("busiest"), busiest, ({ room }) => room, ({ room, messages_1m, sessions }) =>
      bar(el("a", { href: `#rooms?q=${encodeURIComponent(room)}` }, el("bdi", {}, room)), messages_1m, first, t("a-minute", count(messages_1m), count(sessions))));
    show(byId("no-busiest"), !busiest.length);
    const errors = Object.entries(sum.errors ?? {}).sort(([, a], [, b]) => b - a);
    keyed(byId("errors"), errors, ([code]) => code, ([code, times]) => bar(el("code", {}, code), times, errors[0][1], count(times)));
    show(byId("no-errors"), !errors.length);
    keyed(byId("nodes"), nodes, ({ node }) => node, (node, _, before) => el("tr", {},
      el("th", { scope: "row" }, el("code", {}, node.node), before ? "" : ` ${t("this-one")}`), el("td", {}, node.version), el("td", {}, duration(node.uptime_s)),
      el("td", {}, count(node.sessions.total)), el("td", {}, count(node.messages.per_second_1m)), el("td", {}, count(node.deliveries.per_second_1m)),
      el("td", {}, time(node.writer.commit_us.p99)), el("td", {}, bytes(node.memory.resident_bytes ?? 0))));
  }

  #drawHealth({ sum, redis, full }) {
    const { status, database, degraded } = this.#health;
    const troubles = [
      status !== "ready" && t(status === "stopping" ? "stopping" : "not-ready", database?.error ?? ""),
      degraded?.includes("redis") && t("redis-away"),
      ...full.map(({ key }) => t("nearly-full", t(key))),
      sum.lagging > 0 && t("some-lag", count(sum.lagging)),
    ].filter(Boolean);
    const line = byId("health");
    line.dataset.state = status !== "ready" ? "bad" : troubles.length ? "warn" : "good";
    byId("health-text").textContent = troubles.length ? troubles.join(" ") : t("healthy");
    byId("health-more").textContent = [
      t("n-users", count(sum.users)), t("n-rooms", count(sum.rooms_with_sessions)), t("n-nodes", count(sum.nodes)), redis === "up" && t("redis-up"),
      t("n-messages", count(sum.messages.total)),
    ].filter(Boolean).join(" · ");
  }
}

/** A line with a bar: how much of `most` a value is. */
function bar(label, value, most, text, alarm = false) {
  const fill = el("span", { class: "fill" });
  fill.style.inlineSize = `${most > 0 ? Math.min(100, (100 * value) / most) : 0}%`;
  return el("li", { class: alarm ? "bar alarm" : "bar" }, el("span", { class: "bar-name" }, label), el("span", { class: "bar-text" }, text),
    el("span", { class: "track", "aria-hidden": "true" }, fill));
}
