/**
 * What people read, instead of what the service calls it. What is not known here is shown as the
 * service has it, for it may be newer than this page.
 *
 * @import { GatewayError, PhaseState, RequestState } from "./client.js"
 * @typedef {"good" | "bad" | "part" | "busy" | "still"} Tone
 */

/** @type {Record<string, string>} */
const NAMES = {
  spellcheck: "Spellcheck",
  nlp: "NLP",
  cj_assessment: "CJ assessment",
  ai_feedback: "AI feedback",
  comprehensive: "Comprehensive",
};

/** @type {Record<string, [string, Tone]>} */
const BATCH_STATUSES = {
  pending_content: ["Waiting for essays", "still"],
  ready: ["Ready", "still"],
  processing: ["Working", "busy"],
  completed_successfully: ["Completed", "good"],
  completed_with_failures: ["Completed, with failures", "part"],
  failed: ["Failed", "bad"],
};

/** @type {Record<string, [string, Tone]>} */
const PHASE_STATUSES = {
  requested_by_user: ["To come", "still"],
  pending_dependencies: ["To come", "still"],
  dispatch_initiated: ["Working", "busy"],
  in_progress: ["Working", "busy"],
  completed_successfully: ["Completed", "good"],
  completed_with_partial_success: ["Completed in part", "part"],
  failed: ["Failed", "bad"],
  skipped_due_to_dependency_failure: ["Not done: what it needs has failed", "bad"],
  skipped_by_user_config: ["Skipped", "still"],
  cancelled: ["Cancelled", "still"],
};

/** @type {Record<string, string>} */
const SKIP_REASONS = {
  already_completed: "completed earlier, and nothing has changed since",
};

/** @type {Record<string, [string, Tone]>} */
const REQUEST_STATES = {
  sent: ["Accepted", "busy"],
  accepted: ["Waiting", "still"],
  resolving: ["Planning", "busy"],
  running: ["Working", "busy"],
  completed_successfully: ["Completed", "good"],
  completed_with_failures: ["Completed, with failures", "part"],
  failed_critically: ["Failed", "bad"],
  nothing_to_do: ["Nothing to do", "good"],
  rejected: ["Refused", "bad"],
  cancelled: ["Cancelled", "still"],
};

/** @type {Record<string, string>} */
const REASONS = {
  earlier_run_open: "an earlier request is not done yet",
  batch_not_ready: "the batch's essays are not all there",
  resolution_unavailable: "the service that plans the phases does not answer",
  unknown_pipeline: "there is no such pipeline",
  prerequisite_missing: "something that it needs cannot be made",
  too_many_waiting: "too many requests wait for this batch",
  request_id_reused: "its key was used for another request",
};

/** @type {Record<string, string>} */
const FIELDS = {
  batch_id: "The name of a batch has letters, digits and . _ ~ @ + = - only.",
};

/** @type {Record<string, [string, string]>} */
const PROBLEMS = {
  unauthorized: ["This token is not taken", "It has ended, or was never a good one. Paste another."],
  insufficient_scope: ["Your token does not allow this", "Ask for one with the scopes pipelines:run and batches:read."],
  unknown_batch: ["There is no such batch, or it is not yours", "Look at the name of the batch again."],
  invalid_fields: ["Something in this request cannot be right", ""],
  idempotency_key_reused: ["This was asked before in other words", "Press the button again."],
  request_in_flight: ["The same request is still on its way", "Wait a moment, and press the button again."],
  rate_limited: ["That was too often", "Nothing is lost: what was accepted goes on."],
  too_many_streams: ["Too many pages are open", "This one asks every few seconds instead."],
  not_acknowledged: ["It is not known whether the request arrived", "Press the button again: it is not run twice."],
  status_unavailable: ["The status cannot be read now", "What was accepted goes on; this page keeps asking."],
  keys_unavailable: ["Tokens cannot be checked now", "This page keeps asking."],
  unreachable: ["The gateway cannot be reached", "Look at your connection; this page keeps asking."],
  internal_error: ["Something went wrong in the service", "If it happens again, tell the number below."],
};

/**
 * @param {Record<string, [string, Tone]>} known
 * @param {string} name
 * @returns {{words: string, tone: Tone}}
 */
function look(known, name) {
  const [words, tone] = known[name] ?? [name.replaceAll("_", " "), "still"];
  return { words, tone };
}

/** @param {string} name of a pipeline or a phase */
export const nameOf = (name) => NAMES[name] ?? capitalised(name.replaceAll("_", " "));

/** @param {string} text */
const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/**
 * Return when something was, with its day where that is another one.
 *
 * @param {Date} date
 * @param {Date} now
 */
export function timeOf(date, now = new Date()) {
  const time = `at ${date.toLocaleTimeString()}`;
  const isToday = date.toDateString() === now.toDateString();
  return isToday ? time : `on ${date.toLocaleDateString()} ${time}`;
}

/** @param {string} status of a batch */
export const batchStatus = (status) => look(BATCH_STATUSES, status);

/**
 * Return what became of a phase, and what there is to add.
 *
 * @param {PhaseState} phase
 * @returns {{words: string, tone: Tone, more: string}}
 */
export function phaseStatus(phase) {
  if (phase.stalled) return { words: "Stuck", tone: "bad", more: "no word of it for a long time" };
  const { skip_reason: reason } = phase;
  const more = reason ? (SKIP_REASONS[reason] ?? reason.replaceAll("_", " ")) : countsOf(phase);
  return { ...look(PHASE_STATUSES, phase.status), more };
}

/** @param {PhaseState} phase */
function countsOf({ completed, failed, total }) {
  if (!total) return "";
  const essays = total === 1 ? "essay" : "essays";
  if (!completed && !failed) return `${total} ${essays}`;
  return `${completed} of ${total} ${essays}` + (failed ? `, ${failed} failed` : "");
}

/**
 * Return what became of a request, and why.
 *
 * @param {Pick<RequestState, "state" | "reason">} request
 * @returns {{words: string, tone: Tone, more: string}}
 */
export function requestState({ state, reason }) {
  const more = reason ? (REASONS[reason] ?? reason.replaceAll("_", " ")) : "";
  return { ...look(REQUEST_STATES, state), more };
}

/** @param {{field: string, message: string}} fault */
export const faultWords = ({ field, message }) => FIELDS[field] ?? `${field}: ${message}`;

/** @param {GatewayError} error */
export function errorWords({ problem, retryAfter }) {
  const [title, known] = PROBLEMS[problem.code] ?? [problem.title, problem.detail];
  const wait = problem.status === 429 && retryAfter ? ` Wait ${retryAfter} seconds.` : "";
  return { title, advice: known + wait };
}
