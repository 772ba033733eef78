// Owns the page of the HTTP API: reads the OpenAPI document of this hub and lays out its operations by tag. Schemas are in
// api-schema.js.

import { Schemas, prose } from "./api-schema.js";
import { byId, el, say } from "../shared/dom.js";
import { call } from "../client/http.js";

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options", "trace"];

const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");

/** All operations, with what their path says for all of its methods. */
function operations(document, schemas) {
  return Object.entries(document.paths ?? {}).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => {
    const operation = item[method];
    const parameters = new Map();
    for (const given of [...(item.parameters ?? []), ...(operation.parameters ?? [])]) {
      const parameter = schemas.resolve(given);
      parameters.set(`${parameter.in} ${parameter.name}`, parameter);
    }
    return {
      ...operation, path, method,
      id: slug(operation.operationId ?? `${method} ${path}`),
      tag: operation.tags?.[0] ?? "Other",
      parameters: [...parameters.values()],
      security: operation.security ?? document.security ?? [],
    };
  }));
}

/** The groups in the order of the document's own tags, then by appearance. */
function byTag(document, all) {
  const described = new Map((document.tags ?? []).map((tag) => [tag.name, tag.description]));
  const names = [...new Set([...described.keys(), ...all.map(({ tag }) => tag)])];
  const groups = names.map((name) => ({ name, description: described.get(name), list: all.filter(({ tag }) => tag === name) }));
  return groups.filter(({ list }) => list.length);
}

const badge = (method) => el("span", { class: `method method-${method}` }, method.toUpperCase());
const part = (title, ...content) => el("section", { class: "part" }, el("h4", {}, title), ...content);

function parameterList(parameters, schemas) {
  const lines = parameters.map((parameter) => schemas.property(parameter.name, parameter.schema ?? {}, {
    required: parameter.required, place: parameter.in, description: parameter.description, example: parameter.example,
  }));
  return part("Parameters", el("ul", { class: "properties" }, ...lines));
}

/** A body is the same for each media type nearly always; the type is named with it. */
function content(body, schemas) {
  return Object.entries(body.content ?? {}).flatMap(([type, media]) => {
    const examples = media.example === undefined
      ? Object.values(media.examples ?? {}).map((example) => schemas.resolve(example).value) : [media.example];
    return [
      el("p", { class: "small muted" }, el("code", {}, type)),
      media.schema && schemas.body(media.schema),
      ...examples.map((example) => el("pre", { tabindex: "0" }, el("code", {}, JSON.stringify(example, null, 2)))),
    ];
  });
}

function responseList(responses, schemas) {
  const items = Object.entries(responses ?? {}).map(([status, given]) => {
    const response = schemas.resolve(given);
    const headers = Object.entries(response.headers ?? {}).map(([name, header]) => {
      const { schema, ...rest } = schemas.resolve(header);
      return schemas.property(name, schema ?? {}, { ...rest, place: "header" });
    });
    const shown = [headers.length && el("ul", { class: "properties" }, ...headers), ...content(response, schemas)].filter(Boolean);
    const good = status.startsWith("2");
    const title = [el("span", { class: `status ${good ? "good" : ""}` }, status), " ", ...prose(response.description, true)];
    if (!shown.length) return el("div", { class: "response" }, el("p", { class: "response-title" }, ...title));
    return el("details", { class: "response", open: good }, el("summary", { class: "response-title" }, ...title), ...shown);
  });
  return part("Responses", ...items);
}

function article(operation, schemas) {
  const { id, method, path, summary, description, parameters, requestBody, responses, deprecated, security } = operation;
  const body = requestBody && schemas.resolve(requestBody);
  const open = !security.length || security.some((scheme) => Object.keys(scheme).length === 0);
  return el("article", { id, class: "operation" },
    el("h3", {}, el("a", { href: `#${id}`, class: "anchor" }, badge(method), " ", el("code", {}, path))),
    el("p", { class: "summary" }, summary ?? "", deprecated && el("strong", { class: "error" }, " Deprecated")),
    ...prose(description),
    el("p", { class: "small muted" }, open ? "No token needed." : `Authorization: ${security.map((s) => Object.keys(s).join(" + ")).join(" or ")}`),
    parameters.length > 0 && parameterList(parameters, schemas),
    body && part(body.required ? "Request body" : "Request body (optional)", ...prose(body.description), ...content(body, schemas)),
    responseList(responses, schemas));
}

function contents(groups, named) {
  const link = (id, ...text) => el("li", {}, el("a", { href: `#${id}` }, ...text));
  return [
    ...groups.flatMap(({ name, list }) => [
      el("p", {}, el("a", { href: `#tag-${slug(name)}` }, name)),
      el("ul", {}, ...list.map(({ id, method, path, summary }) => link(id, badge(method), " ", summary || path)))]),
    ...(named.length ? [el("p", {}, el("a", { href: "#schemas" }, "Schemas"))] : []),
  ];
}

function draw(document) {
  const schemas = new Schemas(document);
  const groups = byTag(document, operations(document, schemas));
  const named = schemas.names;
  byId("title").textContent = document.info?.title ?? "HTTP API";
  byId("contents").replaceChildren(...contents(groups, named));
  byId("reference").replaceChildren(
    el("p", { class: "muted small" }, `Version ${document.info?.version ?? "?"} · OpenAPI ${document.openapi}`),
    ...prose(document.info?.description),
    ...groups.map(({ name, description, list }) => el("section", {},
      el("h2", { id: `tag-${slug(name)}`, class: "tag" }, name),
      ...prose(description),
      ...list.map((operation) => article(operation, schemas)))),
    ...(named.length ? [el("h2", { id: "schemas", class: "tag" }, "Schemas"), ...named.map((name) => schemas.article(name))] : []));
}

/** The anchor of the address is only there now. */
function goToAnchor() {
  const target = window.location.hash && byId(window.location.hash.slice(1));
  if (target) target.scrollIntoView();
}

const wide = window.matchMedia("(min-width: 62rem)");
const unfold = () => {
  byId("contents-box").open = wide.matches;
};
wide.addEventListener("change", unfold);
unfold();

try {
  draw(await call("GET", "/api/openapi.json"));
  say(byId("state"), "");
  goToAnchor();
} catch (error) {
  say(byId("state"), `The reference could not be loaded: ${error.message}`);
}
