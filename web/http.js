// Owns HTTP calls: JSON in, JSON out, one kind of error. Knows nothing about who is signed in; that is session.js.

const TIMEOUT_MS = 20_000;
const TRIES = 3;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** An answer that is no success, or no answer at all (status 0, code "network"). Also made of a socket's error frames. */
export class ApiError extends Error {
  constructor({ status = 0, code, message, retryable = false, retry_after_ms = 0, fields = null }) {
    super(message || code || `HTTP ${status}`);
    this.status = status;
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retry_after_ms;
    this.fields = fields;
  }
}

/** The path of an API address, each part encoded: names may hold "#" and ids may hold ":". */
export function path(...parts) {
  return ["/api", ...parts.map(encodeURIComponent)].join("/");
}

/** A query string of what is given. */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** One call; reading is tried again where the hub says that this may help. */
export async function call(method, address, { body, token } = {}) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await once(method, address, body, token);
    } catch (error) {
      if (method !== "GET" || !error.retryable || tried === TRIES) throw error;
      await sleep(error.retryAfterMs || 500 * tried * (0.5 + Math.random()));
    }
  }
}

async function once(method, address, body, token) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  let text;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    response = await fetch(address, {
      method, headers, signal, cache: "no-store", credentials: "omit",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    text = await response.text();
  } catch (cause) {
    const code = cause.name === "TimeoutError" ? "timeout" : "network";
    throw new ApiError({ code, message: "The hub cannot be reached.", retryable: true });
  }
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    // A proxy's error page, say; the status has to do.
  }
  if (response.ok) return answer;
  throw failure(response.status, answer);
}

/** The hub's own errors are {"error":{…}}; the token routes answer as Django's do: {"detail"} or lists of texts per field. */
function failure(status, answer) {
  if (answer?.error) return new ApiError({ status, ...answer.error });
  const retryable = status === 429 || status >= 502;
  if (typeof answer?.detail === "string") return new ApiError({ status, code: answer.code, message: answer.detail, retryable });
  if (status === 400 && answer) return new ApiError({ status, message: "Please check what you entered.", fields: answer });
  return new ApiError({ status, code: status >= 502 ? "network" : undefined, message: `The hub answered ${status}.`, retryable });
}
