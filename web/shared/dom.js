// Owns the few ways in which the pages touch the document. Whatever people wrote gets in as text nodes only, never as markup.

export const byId = (id) => document.getElementById(id);
export const action = (name, root = document) => root.querySelector(`[data-action="${name}"]`);

/** An element: attributes by name, listeners as functions under "onclick" and the like, children as nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function show(node, shown = true) {
  node.hidden = !shown;
}

/** Shows a text in an element, or hides it where there is none. */
export function say(node, text) {
  node.textContent = text || "";
  node.hidden = !text;
}

const kept = new WeakMap();

/**
 * Makes the children of `parent` one node per item, in order. `render(item, node, previous)` gets the node it made for that key
 * before, if any, and returns the node to use. Nodes that stay in place are not moved, so that focus and selection live on.
 */
export function keyed(parent, items, key, render) {
  const before = kept.get(parent) ?? new Map();
  const after = new Map(items.map((item) => [key(item), null]));
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  for (const [k, node] of before) if (!after.has(k)) node.remove();
  let place = parent.firstChild;
  items.forEach((item, index) => {
    const node = render(item, before.get(key(item)), items[index - 1]);
    const old = before.get(key(item));
    if (old && old !== node) {
      if (old === place) place = place.nextSibling;
      old.remove();
    }
    after.set(key(item), node);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  });
  kept.set(parent, after);
  if (focused && focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/** A function that runs `work` once, soon, however often it is called. */
export function coalesced(work) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work();
    }, 0);
  };
}

/** Runs what a button or form started, with its buttons off meanwhile; an error is given to `failed`. */
export async function busy(root, work, failed) {
  const buttons = [...root.querySelectorAll("button")].filter((button) => !button.disabled);
  const focused = document.activeElement;
  for (const button of buttons) button.disabled = true;
  try {
    return await work();
  } catch (error) {
    failed(error);
    return undefined;
  } finally {
    for (const button of buttons) button.disabled = false;
    if (document.activeElement === document.body && focused?.isConnected) focused.focus();
  }
}

/** Read out by screen readers, not shown. */
export function announce(text) {
  byId("announcer").replaceChildren(el("p", {}, text));
}

let noticeTimer = null;

/** A short note over the page, gone after a while. */
export function notice(text) {
  say(byId("notice"), text);
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => say(byId("notice"), ""), 7000);
}
