// Owns showing JSON schemas (OpenAPI 3.1) to people: references within the document, nested properties, bounds, examples.

import { el } from "../shared/dom.js";

const REF = "#/components/schemas/";
const DEEPEST = 8;

/** Descriptions: paragraphs at blank lines, `code` in backticks, nothing else of Markdown. `bare` is without paragraphs. */
export function prose(text, bare = false) {
  if (!text) return [];
  const inline = (line) => line.split(/(`[^`]+`)/).map((piece, index) => (index % 2 ? el("code", {}, piece.slice(1, -1)) : piece));
  if (bare) return inline(text);
  return text.trim().split(/\n\s*\n/).map((paragraph) => el("p", { class: "prose" }, ...inline(paragraph)));
}

const code = (value) => el("code", {}, typeof value === "string" ? value : JSON.stringify(value));

/** What bounds a value, as short texts. */
function bounds(schema) {
  const found = [];
  const range = (low, high, unit) => {
    if (low !== undefined && high !== undefined) found.push(`${low} to ${high}${unit}`);
    else if (low !== undefined) found.push(`at least ${low}${unit}`);
    else if (high !== undefined) found.push(`at most ${high}${unit}`);
  };
  range(schema.minimum, schema.maximum, "");
  if (schema.exclusiveMinimum !== undefined) found.push(`more than ${schema.exclusiveMinimum}`);
  if (schema.exclusiveMaximum !== undefined) found.push(`less than ${schema.exclusiveMaximum}`);
  range(schema.minLength, schema.maxLength, " characters");
  range(schema.minItems, schema.maxItems, " items");
  return found;
}

export class Schemas {
  #document;

  constructor(document) {
    this.#document = document;
  }

  get names() {
    return Object.keys(this.#document.components?.schemas ?? {});
  }

  /** What a {"$ref":"#/…"} stands for; anything else is itself. What stands beside the $ref wins over what it names. */
  resolve(node, depth = 0) {
    if (!node?.$ref?.startsWith("#/") || depth > DEEPEST) return node ?? {};
    const steps = node.$ref.slice(2).split("/").map((step) => decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~"));
    const target = steps.reduce((at, step) => at?.[step], this.#document);
    const { $ref, ...beside } = node;
    return { ...this.resolve(target, depth + 1), ...beside };
  }

  #nameOf(schema) {
    return schema?.$ref?.startsWith(REF) ? decodeURIComponent(schema.$ref.slice(REF.length)) : null;
  }

  /** A short name of the type as nodes, linking named schemas: `array of Room`, `string or null`. */
  #type(schema, depth = 0) {
    const name = this.#nameOf(schema);
    if (name) return [el("a", { href: `#schema-${name}` }, name)];
    if (schema === true || schema === undefined || depth > DEEPEST) return ["any"];
    const joined = (list, word) => list.flatMap((one, index) => [...(index ? [word] : []), ...this.#type(one, depth + 1)]);
    const choice = schema.oneOf ?? schema.anyOf;
    if (choice) return joined(choice, " or ");
    if (schema.allOf) return joined(schema.allOf, " and ");
    if (schema.const !== undefined) return [code(schema.const)];
    const types = [schema.type ?? (schema.properties ? "object" : schema.enum ? "one of" : "any")].flat();
    return types.flatMap((type, index) => [
      index ? " or " : "", type,
      ...(type === "array" && schema.items ? [" of ", ...this.#type(schema.items, depth + 1)] : []),
    ]);
  }

  /** One line of a list of properties or parameters, with what is inside it. */
  property(name, given, { required, place, description, example } = {}, path = []) {
    const schema = this.resolve(given);
    const own = schema.examples?.[0] ?? schema.example;
    const facts = [schema.format, ...bounds(schema)].filter(Boolean);
    return el("li", {},
      el("p", { class: "property" },
        el("code", { class: "property-name" }, name), " ",
        el("span", { class: "muted" }, ...this.#type(given), place ? ` in ${place}` : "", facts.length ? `, ${facts.join(", ")}` : ""),
        required && el("strong", { class: "required" }, " required"),
        schema.readOnly && el("span", { class: "muted" }, " read-only")),
      ...prose(description ?? schema.description),
      schema.enum && el("p", { class: "small" }, "One of ", ...schema.enum.flatMap((value, index) => [index ? ", " : "", code(value)])),
      schema.pattern && el("p", { class: "small" }, "Pattern ", code(schema.pattern)),
      schema.default !== undefined && el("p", { class: "small" }, "Default ", code(schema.default)),
      (example ?? own) !== undefined && el("p", { class: "small" }, "Example ", code(example ?? own)),
      ...this.#inside(given, path));
  }

  /** The properties of an object, of an array's items, of each choice. `path` holds the names on the way: a schema may hold itself. */
  #inside(given, path) {
    const name = this.#nameOf(given);
    if (name && path.includes(name)) return [el("p", { class: "small muted" }, "As above.")];
    if (path.length > DEEPEST) return [];
    const schema = this.resolve(given);
    const way = [...path, name ?? ""];
    const found = (schema.allOf ?? []).flatMap((one) => this.#inside(one, way));
    const required = new Set(schema.required ?? []);
    const lines = Object.entries(schema.properties ?? {}).map(([key, value]) =>
      this.property(key, value, { required: required.has(key) }, way));
    if (schema.additionalProperties && typeof schema.additionalProperties === "object") {
      lines.push(this.property("(any name)", schema.additionalProperties, {}, way));
    }
    if (lines.length) found.push(el("ul", { class: "properties" }, ...lines));
    if (schema.items) found.push(...this.#inside(schema.items, way));
    const choices = (schema.oneOf ?? schema.anyOf ?? []).filter((one) => this.#inside(one, way).length);
    for (const one of choices) {
      const inside = this.#inside(one, way);
      if (choices.length === 1) found.push(...inside);
      else found.push(el("p", { class: "small choice" }, "Either ", ...this.#type(one)), ...inside);
    }
    return found;
  }

  /** A whole body. */
  body(given) {
    const inside = this.#inside(given, []);
    return el("div", { class: "schema" }, el("p", {}, ...this.#type(given)), ...inside);
  }

  /** A named schema, for the list at the end of the page. */
  article(name) {
    const schema = this.#document.components.schemas[name];
    const own = schema.examples?.[0] ?? schema.example;
    return el("article", { id: `schema-${name}`, class: "operation" },
      el("h3", {}, el("a", { href: `#schema-${name}`, class: "anchor" }, name), " ", el("span", { class: "muted small" }, ...this.#type(schema))),
      ...prose(schema.description),
      schema.enum && el("p", {}, "One of ", ...schema.enum.flatMap((value, index) => [index ? ", " : "", code(value)])),
      ...this.#inside(schema, [name]),
      own !== undefined && el("pre", { tabindex: "0" }, el("code", {}, JSON.stringify(own, null, 2))));
  }
}
