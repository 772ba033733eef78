// Owns what can go wrong: an answer of the hub that is no success, a connection that went, a user who is signed in no longer.

/** An answer that is no success, or none at all (`code` "network" or "timeout"). `code` is for programs: docs/protocol.md lists them. */
export class HubError extends Error {
  constructor({ code, message, status = 0, retryable = false, retry_after_ms = 0, fields = null, answer = null }) {
    super(message || code || `HTTP ${status}`);
    this.name = "HubError";
    this.code = code;
    this.status = status;
    this.retryable = retryable;
    this.retryAfterMs = retry_after_ms;
    this.fields = fields;
    this.answer = answer;
  }
}

/** The connection went before the reply came: the command was carried out, or not. */
export class ConnectionLost extends Error {
  constructor() {
    super("the connection was lost before the hub answered");
    this.name = "ConnectionLost";
    this.code = "connection_lost";
  }
}

/** There is no token that the hub would take: nothing helps but signing in again. */
export class SignedOut extends Error {
  constructor(message = "the session has ended") {
    super(message);
    this.name = "SignedOut";
    this.code = "signed_out";
  }
}
