/**
 * The page: sign in with a token, open a batch, follow it, run pipelines over it. All that is known
 * of the API stands in `client.js` and `live.js`, as a React application would have it.
 *
 * @import { BatchStatus, PipelineRequest } from "./client.js"
 * @import { SentRequest } from "./view.js"
 */
import { GatewayClient, GatewayError, PipelineButton } from "./client.js";
import { followBatch } from "./live.js";
import { announce, find, showAlert, showBatch, showConnection, showExchange } from "./view.js";

const token = /** @type {HTMLInputElement} */ (find("token"));
const batch = /** @type {HTMLInputElement} */ (find("batch"));
const pipeline = /** @type {HTMLSelectElement} */ (find("pipeline"));
const runButton = find("run-button");
const retryButton = find("retry-button");

/** Who is signed in, and what is shown to them. */
class Session {
  /** @param {string} given the token */
  constructor(given) {
    const options = { token: given, onExchange: showExchange };
    this.client = new GatewayClient(options);
    this.button = new PipelineButton(this.client);
    this.batchId = "";
    /** @type {BatchStatus | null} */
    this.status = null;
    /** @type {SentRequest[]} */
    this.sent = [];
    this.following = new AbortController();
  }

  close() {
    this.following.abort();
  }

  /** @param {string} batchId */
  open(batchId) {
    this.following.abort();
    this.following = new AbortController();
    this.batchId = batchId;
    this.status = null;
    this.sent = [];
    find("work").hidden = true;
    showAlert(null);
    const listener = {
      onStatus: (/** @type {BatchStatus} */ status) => this.show(status),
      onConnection: showConnection,
    };
    followBatch(this.client, batchId, listener, this.following.signal).catch(fail);
  }

  /** @param {BatchStatus} status */
  show(status) {
    announce(this.status, status);
    this.status = status;
    const known = new Set(status.details.requests.map((request) => request.request_id));
    this.sent = this.sent.filter((request) => !known.has(request.request_id));
    showBatch(status, this.sent);
    find("batch-title").textContent = this.batchId;
    find("work").hidden = false;
    retryButton.hidden = !["completed_with_failures", "failed"].includes(status.status);
  }

  /** @param {boolean} isRetry */
  async run(isRetry) {
    if (runButton.ariaDisabled === "true" || !this.status) return;
    showAlert(null);
    find("run").ariaBusy = "true";
    try {
      await this.ask(isRetry ? retryOf(this.status) : { requested_pipeline: pipeline.value });
    } catch (error) {
      fail(error);
    } finally {
      find("run").ariaBusy = null;
    }
  }

  /** @param {PipelineRequest} request */
  async ask(request) {
    const { batchId } = this;
    const { request_id, accepted_at } = await this.button.press(batchId, request);
    if (batchId !== this.batchId || !this.status) return; // another batch was opened meanwhile
    find("announcement").textContent = "The request was accepted.";
    const sent = { request_id, accepted_at, reason: null };
    if (!this.sent.some((one) => one.request_id === request_id)) {
      this.sent.unshift({ ...sent, pipeline: request.requested_pipeline, state: "sent" });
    }
    this.show(this.status);
  }
}

/**
 * Return the request that does again what failed in the newest run.
 *
 * @param {BatchStatus} status
 * @returns {PipelineRequest}
 */
function retryOf({ details }) {
  const newest = details.requests.find(({ state }) => state !== "rejected");
  return {
    requested_pipeline: newest?.pipeline ?? pipeline.value,
    is_retry: true,
    retry_reason: "Asked for on the page.",
  };
}

/** @type {Session | null} */
let session = null;

/**
 * Show what went wrong, and where to go on.
 *
 * @param {unknown} error
 */
function fail(error) {
  if (!(error instanceof GatewayError)) throw error;
  const { status } = error.problem;
  if (status === 401) signOut();
  showAlert(error);
  if (status === 401) token.focus();
  else if (find("work").hidden) batch.focus();
  if (status === 429) wait(error.retryAfter ?? 1);
}

/** @param {number} seconds in which the button cannot be pressed */
function wait(seconds) {
  const isOver = seconds <= 0;
  for (const button of [runButton, retryButton]) button.ariaDisabled = isOver ? null : "true";
  runButton.textContent = isOver ? "Run" : `Run (in ${seconds} s)`;
  if (!isOver) setTimeout(() => wait(seconds - 1), 1000);
}

/** @param {string} given */
function signIn(given) {
  session = new Session(given);
  find("who").textContent = describe(given);
  show(true);
  if (batch.value) session.open(batch.value);
  else batch.focus();
}

function signOut() {
  session?.close();
  session = null;
  token.value = "";
  showAlert(null);
  show(false);
}

/** @param {boolean} isSignedIn */
function show(isSignedIn) {
  for (const id of ["session", "open", "wire"]) find(id).hidden = !isSignedIn;
  find("sign-in").hidden = isSignedIn;
  if (!isSignedIn) find("work").hidden = true;
}

/**
 * Return who the token says it speaks for. The gateway decides whether that is so.
 *
 * @param {string} given
 */
function describe(given) {
  try {
    const part = (given.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
    const { sub, exp } = JSON.parse(new TextDecoder().decode(bytes));
    return `${sub}, until ${new Date(exp * 1000).toLocaleTimeString()}`;
  } catch {
    return given ? "an unreadable token" : "without a token";
  }
}

find("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  showAlert(null);
  signIn(token.value.trim());
});
find("sign-out").addEventListener("click", () => {
  signOut();
  token.focus();
});
find("open").addEventListener("submit", (event) => {
  event.preventDefault();
  session?.open(batch.value.trim());
});
find("run").addEventListener("submit", (event) => {
  event.preventDefault();
  void session?.run(false);
});
retryButton.addEventListener("click", () => void session?.run(true));

batch.value = new URLSearchParams(location.search).get("batch") ?? "";
token.focus();
