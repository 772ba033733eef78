// Owns the charts of the last hour: a line of SVG for each number, drawn anew as points come, read out under the pointer or by the
// arrow keys. A hole in time (the hub was down, the page was away) is a hole in the line.

import { el, say } from "../shared/dom.js";
import { t, timeText } from "../shared/language.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [300, 72];
const HOUR_MS = 3_600_000;
/** A hub that has just started shows what there is, over this at least. */
const LEAST_MS = 300_000;
const GAP_MS = 13_000;

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** 1, 2 or 5 times a power of ten that is not below a value. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 5, 10].map((step) => step * power).find((most) => most >= value) ?? value;
}

export class Chart {
  #field;
  #write;
  #unit;
  #line = svg("path", { class: "line" });
  #area = svg("path", { class: "area" });
  #cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT });
  #picture;
  #most = el("span", {});
  #since = el("span", {});
  #readout = el("p", { class: "readout small", hidden: true });
  #current = el("p", { class: "figure" }, "–");
  #points = [];
  #range = [0, 1];
  #top = 1;
  #chosen = null;
  node;

  /** Of a point's field; `write(value)` is how a value is written, `unit` what the axis is to be a round number of. */
  constructor(key, field, write, unit = 1) {
    this.#field = field;
    this.#write = write;
    this.#unit = unit;
    this.#picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", tabindex: 0 }, this.#area, this.#line, this.#cursor);
    this.#picture.addEventListener("pointermove", ({ clientX }) => this.#point(clientX));
    for (const what of ["pointerleave", "blur"]) this.#picture.addEventListener(what, () => this.#choose(null));
    this.#picture.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.#points.length) return;
      event.preventDefault();
      this.#choose(Math.min(this.#points.length - 1, Math.max(0, (this.#chosen ?? this.#points.length - 1) + step)));
    });
    this.node = el("figure", { class: "chart", "data-chart": field },
      el("figcaption", {}, t(key)), this.#current,
      el("div", { class: "plot" }, this.#most, this.#picture, el("div", { class: "axis" }, this.#since, el("span", {}, t("now")))),
      this.#readout);
    this.name = t(key);
  }

  /** Shows these points, oldest first: {at, …}. */
  draw(points) {
    this.#points = points;
    const value = (point) => point[this.#field];
    const newest = points.at(-1)?.at ?? Date.now();
    const oldest = Math.min(points[0]?.at ?? newest, newest - LEAST_MS);
    this.#range = [Math.max(oldest, newest - HOUR_MS), newest];
    const highest = Math.max(0, ...points.map(value));
    this.#top = nice(highest / this.#unit || 1) * this.#unit;
    let path = "";
    let area = "";
    let begun = null;
    points.forEach((point, index) => {
      const [x, y] = [this.#x(point).toFixed(1), (HEIGHT - (value(point) / this.#top) * (HEIGHT - 2)).toFixed(1)];
      const apart = index === 0 || point.at - points[index - 1].at > GAP_MS;
      if (apart && begun !== null) area += `V${HEIGHT}Z`;
      if (apart) [begun, area] = [x, `${area}M${x} ${HEIGHT}L${x} ${y}`];
      else area += `L${x} ${y}`;
      path += `${apart ? "M" : "L"}${x} ${y}`;
      // A point alone is a dot.
      if (apart) path += "h0.1";
    });
    this.#line.setAttribute("d", path);
    this.#area.setAttribute("d", begun === null ? "" : `${area}V${HEIGHT}Z`);
    this.#most.textContent = this.#write(this.#top);
    this.#since.textContent = t("minutes-ago", Math.round((newest - this.#range[0]) / 60_000));
    const last = points.length ? this.#write(value(points.at(-1))) : "–";
    this.#current.textContent = last;
    const least = points.length ? this.#write(Math.min(...points.map(value))) : "–";
    this.#picture.setAttribute("aria-label", t("chart-says", this.name, last, least, this.#write(highest)));
    this.#choose(this.#chosen !== null && this.#chosen < points.length ? this.#chosen : null);
  }

  #x({ at }) {
    const [from, to] = this.#range;
    return ((at - from) / (to - from)) * WIDTH;
  }

  #point(clientX) {
    if (!this.#points.length) return;
    const { left, width } = this.#picture.getBoundingClientRect();
    const x = ((clientX - left) / width) * WIDTH;
    let nearest = 0;
    this.#points.forEach((point, index) => {
      if (Math.abs(this.#x(point) - x) < Math.abs(this.#x(this.#points[nearest]) - x)) nearest = index;
    });
    this.#choose(nearest);
  }

  #choose(index) {
    this.#chosen = index;
    const point = index === null ? null : this.#points[index];
    this.#cursor.style.display = point ? "" : "none";
    say(this.#readout, point ? `${timeText(new Date(point.at))} · ${this.#write(point[this.#field])}` : "");
    if (!point) return;
    for (const end of ["x1", "x2"]) this.#cursor.setAttribute(end, this.#x(point));
  }
}
