// Owns a long list of which only what is near the view is in the document: two spacers stand for the rest, by heights that were
// measured or, until then, are taken to be the average. What is in view does not move when something above it changes.

import { keyed } from "../shared/dom.js";

/** Drawn beyond each edge of the view, so that quick scrolling shows no gaps. */
const BEYOND_PX = 800;
const FIRST_GUESS_PX = 56;
const NEAR_PX = 48;

export class ListWindow {
  #frame;
  #list;
  #spacers;
  #key;
  #render;
  #items = [];
  #tops = [0];
  #heights = new Map();
  #sum = 0;
  #drawn = [0, 0];
  #frameRequest = null;
  /** Whether the view follows the end. */
  follows = true;

  /** `render(item, node, previous)` gives the node of an item, which `key(item)` names. */
  constructor(frame, list, [before, after], { key, render }) {
    this.#frame = frame;
    this.#list = list;
    this.#spacers = [before, after];
    this.#key = key;
    this.#render = render;
    let width = 0;
    const changed = new ResizeObserver(() => {
      if (list.clientWidth !== width) this.#forget();
      width = list.clientWidth;
      this.#soon();
    });
    changed.observe(frame);
    changed.observe(list);
  }

  /** Shows these items; one that changed is given anew under its key. */
  show(items) {
    const still = this.#inView();
    this.#items = items;
    // Of items that have gone nothing is kept for ever.
    if (this.#heights.size > 2 * items.length + 1_000) this.#forget();
    this.#reckon();
    this.#draw(still);
  }

  /** Another list: nothing of the old one counts. */
  clear() {
    this.#items = [];
    this.#forget();
    this.follows = true;
  }

  /** Hears of a scroll: what has come near is drawn. Says whether the view follows the end. */
  scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#frame;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    const [start, end] = this.#range(scrollTop, BEYOND_PX / 2);
    if (start < this.#drawn[0] || end > this.#drawn[1]) this.#soon();
    return this.follows;
  }

  toEnd() {
    this.follows = true;
    this.#draw(null);
  }

  #forget() {
    this.#heights.clear();
    this.#sum = 0;
    this.#reckon();
  }

  #soon() {
    this.#frameRequest ??= requestAnimationFrame(() => {
      this.#frameRequest = null;
      this.#draw(this.#inView());
    });
  }

  /** Where each item begins, and where the last one ends. */
  #reckon() {
    const guess = this.#heights.size ? this.#sum / this.#heights.size : FIRST_GUESS_PX;
    let top = 0;
    this.#tops = [0];
    for (const item of this.#items) this.#tops.push((top += this.#heights.get(this.#key(item)) ?? guess));
  }

  /** The index of the item at a height. */
  #at(height) {
    let low = 0;
    for (let high = this.#items.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (this.#tops[middle + 1] <= height) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Which items are near the view, if that stands at `top`, with some to spare. */
  #range(top, spare) {
    const from = top - this.#spacers[0].offsetTop;
    return [this.#at(from - spare), Math.min(this.#items.length, this.#at(from + this.#frame.clientHeight + spare) + 1)];
  }

  /** Where the view has to stand, so that it follows the end, or what was in view stays where it was. */
  #goal(still) {
    if (this.follows) return this.#spacers[0].offsetTop + this.#tops.at(-1) - this.#frame.clientHeight;
    const place = still ? this.#items.findIndex((item) => this.#key(item) === still.key) : -1;
    return place < 0 ? this.#frame.scrollTop : this.#spacers[0].offsetTop + this.#tops[place] - still.offset;
  }

  #draw(still) {
    // The first round may measure; the second draws by what was measured.
    for (let round = 0; round < 2; round += 1) {
      const [start, end] = (this.#drawn = this.#range(this.#goal(still), BEYOND_PX));
      const shown = this.#items.slice(start, end);
      keyed(this.#list, shown, this.#key, (item, node, previous) => this.#render(item, node, previous ?? this.#items[start - 1]));
      const right = this.#measure(shown);
      this.#spacers[0].style.height = `${this.#tops[start]}px`;
      this.#spacers[1].style.height = `${this.#tops.at(-1) - this.#tops[end]}px`;
      const goal = this.follows ? this.#frame.scrollHeight : this.#goal(still);
      if (Math.abs(goal - this.#frame.scrollTop) >= 1) this.#frame.scrollTop = goal;
      if (right) break;
    }
  }

  /** Measures what is drawn; says whether all was as it had been reckoned. */
  #measure(shown) {
    let right = true;
    shown.forEach((item, index) => {
      const key = this.#key(item);
      const { height } = this.#list.children[index].getBoundingClientRect();
      const known = this.#heights.get(key);
      if (height === 0 || known === height) return;
      this.#sum += height - (known ?? 0);
      this.#heights.set(key, height);
      right = false;
    });
    if (!right) this.#reckon();
    return right;
  }

  /** The first item in view, and how far below the view's top it begins. */
  #inView() {
    if (this.follows) return null;
    const { top } = this.#frame.getBoundingClientRect();
    const index = [...this.#list.children].findIndex((node) => node.getBoundingClientRect().bottom > top);
    const item = index < 0 ? undefined : this.#items[this.#drawn[0] + index];
    return item && { key: this.#key(item), offset: this.#list.children[index].getBoundingClientRect().top - top };
  }
}
