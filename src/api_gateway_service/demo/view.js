/**
 * From what the gateway says to what stands on the page. Text is always set as text: nothing that
 * comes from outside becomes markup.
 *
 * @import { BatchStatus, Exchange, GatewayError, PhaseState, RequestState } from "./client.js"
 * @import { Connection } from "./live.js"
 * @typedef {Pick<RequestState, "request_id" | "pipeline" | "state" | "reason" | "accepted_at">} SentRequest
 */
import * as words from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MARKS = {
  good: "M5 13l4 4L19 7",
  bad: "M6 6l12 12M18 6L6 18",
  part: "M12 5v9M12 18.5v.01",
  busy: "M12 3a9 9 0 1 0 9 9",
  still: "M6 12h.01M12 12h.01M18 12h.01",
  skipped: "M5 6l6 6-6 6M13 6l6 6-6 6",
};
const EXCHANGES_SHOWN = 20;

/**
 * Return an element.
 *
 * @param {string} tag
 * @param {string} kind its class
 * @param {...(Node | string)} content
 */
function make(tag, kind, ...content) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...content);
  return element;
}

/** @param {string} id */
export function find(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no ${id}`);
  return element;
}

/**
 * @param {BatchStatus} status
 * @param {SentRequest[]} sent what was accepted, and stands in no status yet
 */
export function showBatch(status, sent) {
  const { words: text, tone } = words.batchStatus(status.status);
  find("status").className = `badge ${tone}`;
  find("status").textContent = text;
  const { phases, requests } = status.details;
  find("phases-title").textContent = titleOf(status);
  find("phases").replaceChildren(...phases.map(phaseItem));
  find("requests").replaceChildren(...[...sent, ...requests].map(requestItem));
  if (!sent.length && !requests.length) find("requests").append(make("li", "hint", "None yet."));
  find("summary").textContent = summaryOf(status, sent);
}

/** @param {BatchStatus} status */
const newestOf = ({ details }) => details.requests.find(({ state }) => state !== "rejected");

/** @param {BatchStatus} status */
function titleOf(status) {
  const newest = newestOf(status);
  return newest ? `Phases of ${words.nameOf(newest.pipeline)}` : "Phases";
}

/**
 * @param {BatchStatus} status
 * @param {SentRequest[]} sent
 */
function summaryOf(status, sent) {
  const newest = newestOf(status);
  if (sent.length) return "Your request was accepted, and begins in a moment.";
  if (newest?.state === "nothing_to_do") {
    return `Nothing to do: all that ${words.nameOf(newest.pipeline)} makes is there already.`;
  }
  if (status.details.phases.length) return "";
  if (!newest) return "Nothing has run yet. Choose a pipeline, and run it.";
  const { words: text, more } = words.requestState(newest);
  return more ? `${text}: ${more}.` : `${text}.`;
}

/** @param {PhaseState} phase */
function phaseItem(phase) {
  const { words: text, tone, more } = words.phaseStatus(phase);
  const isSkipped = phase.skip_reason !== null;
  const isWorking = tone === "busy";
  const done = phase.completed + phase.failed;
  const about = make("div", "", make("strong", "", words.nameOf(phase.name)));
  about.append(make("span", "what", text), make("span", "hint", more && ` · ${more}`));
  if (isWorking && done) about.append(barOf(done, phase.total, words.nameOf(phase.name)));
  const mark = markOf(MARKS[isSkipped ? "skipped" : tone], isWorking);
  return make("li", `${tone}${isSkipped ? " skipped" : ""}`, mark, about);
}

/**
 * @param {number} value
 * @param {number} max
 * @param {string} name
 */
function barOf(value, max, name) {
  const bar = document.createElement("progress");
  bar.max = max;
  bar.value = value;
  bar.ariaLabel = name;
  return bar;
}

/**
 * @param {string} path
 * @param {boolean} isTurning
 */
function markOf(path, isTurning) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  if (isTurning) svg.setAttribute("class", "turning");
  svg.append(document.createElementNS(SVG, "path"));
  svg.firstElementChild?.setAttribute("d", path);
  return make("span", "mark", svg);
}

/** @param {SentRequest} request */
function requestItem(request) {
  const { words: text, tone, more } = words.requestState(request);
  const name = make("strong", "", words.nameOf(request.pipeline));
  const title = make("div", "title", name, make("span", `badge ${tone}`, text));
  const when = `asked ${words.timeOf(new Date(request.accepted_at))}`;
  return make("li", "", title, make("span", "hint", more ? `${when} · ${more}` : when));
}

/** @param {Connection} connection */
export function showConnection({ kind, error }) {
  const how = { live: "Live", reconnecting: "Connecting again …", polling: "Asking every few seconds" };
  const why = error ? `: ${words.errorWords(error).title.toLowerCase()}` : "";
  find("connection").dataset.kind = kind;
  find("connection").textContent = how[kind] + why;
}

/** @param {GatewayError | null} error */
export function showAlert(error) {
  if (!error) return find("alert").replaceChildren();
  const { title, advice } = words.errorWords(error);
  const notice = make("div", "notice bad", make("strong", "", title), advice);
  const faults = error.problem.errors ?? [];
  if (faults.length) {
    const items = faults.map((fault) => make("li", "", words.faultWords(fault)));
    notice.append(make("ul", "", ...items));
  }
  const { correlation_id: id, code, status } = error.problem;
  const number = id && `, number ${id}`;
  if (status) notice.append(make("div", "hint", `Code ${code} (${status})${number}`));
  find("alert").replaceChildren(notice);
  notice.scrollIntoView({ block: "nearest" }); // on a phone the button may be far below
}

/** @param {Exchange} exchange */
export function showExchange({ method, path, status, rateLimit }) {
  const left = rateLimit?.replaceAll(/"([^"]*)";r=(\d+);t=\d+/g, "$1 $2") ?? "";
  const cells = [new Date().toLocaleTimeString(), status || "no answer", `${method} ${path}`, left];
  const rows = find("exchanges");
  rows.prepend(make("tr", "", ...cells.map((text) => make("td", "", String(text)))));
  while (rows.children.length > EXCHANGES_SHOWN) rows.lastElementChild?.remove();
}

/**
 * Say, for those who listen to the page, what has become of which phase.
 *
 * @param {BatchStatus | null} before
 * @param {BatchStatus} now
 */
export function announce(before, now) {
  const told = new Map(before?.details.phases.map((phase) => [phase.name, phase.status]));
  const news = now.details.phases
    .filter((phase) => told.get(phase.name) !== phase.status)
    .map((phase) => {
      const { words: text, more } = words.phaseStatus(phase);
      return `${words.nameOf(phase.name)}: ${text}${more && `, ${more}`}.`;
    });
  if (before && before.status !== now.status) news.push(`${words.batchStatus(now.status).words}.`);
  if (news.length) find("announcement").textContent = news.join(" ");
}
