// Owns HTTP calls: JSON in, JSON out, one kind of error, a time limit. Knows nothing about who is signed in.

import { HubError } from "./errors.js";

const TIMEOUT_MS = 20_000;
const TRIES = 3;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A path under /api, each part encoded: rooms' names may hold "#" and users' ids "/". */
export function path(...parts) {
  return ["/api", ...parts.map(encodeURIComponent)].join("/");
}

/** One call; reading is tried again where the hub says that this may help. */
export async function call(method, address, { query, body, token, fetch = globalThis.fetch } = {}) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null);
  const full = given.length ? `${address}?${new URLSearchParams(given)}` : address;
  for (let tried = 1; ; tried += 1) {
    try {
      return await once(fetch, method, full, body, token);
    } catch (error) {
      if (method !== "GET" || !error.retryable || tried === TRIES) throw error;
      await sleep(error.retryAfterMs || 500 * tried * (0.5 + Math.random()));
    }
  }
}

async function once(fetch, method, address, body, token) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  let response, text;
  try {
    response = await fetch(address, {
      method, headers, signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store", credentials: "omit",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    text = await response.text();
  } catch (cause) {
    const code = cause.name === "TimeoutError" ? "timeout" : "network";
    throw new HubError({ code, message: "the hub cannot be reached", retryable: true });
  }
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    // A proxy's error page, say; the status has to do.
  }
  if (response.ok) return answer;
  throw failure(response, answer);
}

/** The hub's own errors are {"error":{…}}; the accounts answer as Django's do: {"detail"}, or lists of texts by field. */
function failure({ status, headers }, answer) {
  const retry_after_ms = 1_000 * (Number(headers.get("retry-after")) || 0);
  if (answer?.error) return new HubError({ retry_after_ms, status, ...answer.error });
  const retryable = status === 429 || status >= 502;
  const code = status === 429 ? "rate_limited" : status >= 502 ? "network" : undefined;
  if (typeof answer?.detail === "string") {
    return new HubError({ status, code: answer.code ?? code, message: answer.detail, retryable, retry_after_ms });
  }
  const fields = status === 400 ? answer : null;
  return new HubError({ status, code: fields ? "bad_field" : code, message: `the hub answered ${status}`, fields, answer, retryable, retry_after_ms });
}
