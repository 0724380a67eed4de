/**
 * A client of the API gateway: what is asked, what is answered, and what is tried again.
 *
 * Every failure is a `GatewayError` with a problem in it, also where no gateway was reached. The
 * token goes into a header and nowhere else.
 */
const TRIES = 4;
const ANSWER_SECONDS = 15; // within which an answer must begin
const RETRY_SECONDS = 2; // where an answer does not say when to try again
const LONGEST_WAIT_SECONDS = 10; // beyond which a person had better be told
const SAME_CLICK_MS = 1000; // the second half of a double click may come after the answer
const KEY_BYTES = 16;
export class GatewayError extends Error {
    problem;
    retryAfter;
    constructor(problem, 
    /** Seconds to wait before the same is asked again, where the gateway has said it. */
    retryAfter = null) {
        super(problem.detail);
        this.problem = problem;
        this.retryAfter = retryAfter;
        this.name = "GatewayError";
    }
}
export class GatewayClient {
    options;
    constructor(options) {
        this.options = options;
    }
    /**
     * Ask for a pipeline. The same key asks once, however often it is sent: after an answer that was
     * lost, or a 409 or 503, it is sent again here. A 429 is not, for that wait may be long.
     */
    async requestPipeline(batchId, request, { key = newKey(), signal } = {}) {
        const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
        const init = { method: "POST", headers, body: JSON.stringify(request) };
        for (let tries = 1;; tries++) {
            try {
                const answer = await this.send(pathOf(batchId, "pipelines"), init, signal);
                return (await answer.json());
            }
            catch (error) {
                const seconds = error instanceof GatewayError ? secondsUntilRetry(error) : null;
                if (seconds === null || seconds > LONGEST_WAIT_SECONDS || tries === TRIES)
                    throw error;
                await pause(seconds * 1000, signal);
            }
        }
    }
    /** Return how the batch is doing; null if it is still as it was under the ETag. */
    async getStatus(batchId, { etag, signal } = {}) {
        const headers = etag ? { "If-None-Match": etag } : {};
        const answer = await this.send(pathOf(batchId, "status"), { headers }, signal);
        if (answer.status === 304)
            return null;
        const status = (await answer.json());
        return { status, etag: answer.headers.get("ETag") };
    }
    /** Open the stream of the batch's events: see `followBatch`, which keeps one open. */
    async openEvents(batchId, { lastEventId, signal } = {}) {
        const headers = { Accept: "text/event-stream" };
        if (lastEventId)
            headers["Last-Event-ID"] = lastEventId;
        const answer = await this.send(pathOf(batchId, "events"), { headers }, signal);
        if (!answer.body)
            throw unreachable();
        return answer.body;
    }
    async send(path, init, signal) {
        const headers = new Headers(init.headers);
        const { token } = this.options;
        const current = typeof token === "function" ? await token() : token;
        if (current)
            headers.set("Authorization", `Bearer ${current}`);
        signal?.throwIfAborted();
        const late = new AbortController();
        const timer = setTimeout(() => late.abort(), ANSWER_SECONDS * 1000);
        const stop = signal ? AbortSignal.any([signal, late.signal]) : late.signal;
        let answer = null;
        try {
            const url = (this.options.baseUrl ?? "") + path;
            // What is kept of an answer is this client's business: it sends the ETag itself.
            answer = await fetch(url, { ...init, headers, cache: "no-store", signal: stop });
        }
        catch {
            signal?.throwIfAborted();
            throw unreachable();
        }
        finally {
            clearTimeout(timer);
            this.options.onExchange?.({
                method: init.method ?? "GET",
                path,
                status: answer?.status ?? 0,
                rateLimit: answer?.headers.get("RateLimit") ?? null,
            });
        }
        if (answer.ok || answer.status === 304)
            return answer;
        throw await errorOf(answer);
    }
}
/**
 * A button that asks for pipelines. Presses belong together while there is no answer, for a moment
 * after it, and after a failure that may have been none: they have one key, and so one run.
 */
export class PipelineButton {
    client;
    click = null;
    constructor(client) {
        this.client = client;
    }
    press(batchId, request) {
        const name = JSON.stringify([batchId, request]);
        if (this.click?.name !== name)
            this.click = { name, key: newKey(), asked: null };
        const { click } = this;
        click.asked ??= this.client.requestPipeline(batchId, request, { key: click.key }).then((accepted) => {
            setTimeout(() => this.forget(click), SAME_CLICK_MS);
            return accepted;
        }, (error) => {
            click.asked = null;
            if (!(error instanceof GatewayError && error.problem.retryable))
                this.forget(click);
            throw error;
        });
        return click.asked;
    }
    forget(click) {
        if (this.click === click)
            this.click = null;
    }
}
/** Return a new Idempotency-Key; unlike `crypto.randomUUID` it needs no https. */
export function newKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(KEY_BYTES));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
/** Return after that time; throw as soon as the signal is aborted. */
export function pause(ms, signal) {
    return new Promise((resolve, reject) => {
        if (signal?.aborted)
            return reject(signal.reason);
        const stop = () => {
            clearTimeout(timer);
            reject(signal?.reason);
        };
        const timer = setTimeout(() => {
            signal?.removeEventListener("abort", stop);
            resolve();
        }, ms);
        signal?.addEventListener("abort", stop, { once: true });
    });
}
/** Return after how many seconds the same request may succeed; null if no waiting helps. */
export function secondsUntilRetry(error) {
    if (!error.problem.retryable || error.problem.status === 429)
        return null;
    return error.retryAfter ?? RETRY_SECONDS;
}
function pathOf(batchId, what) {
    return `/v1/batches/${encodeURIComponent(batchId)}/${what}`;
}
/** Return the error of a gateway that cannot be reached, or whose answer broke off. */
export function unreachable() {
    return new GatewayError({
        type: "about:blank",
        title: "Unreachable",
        status: 0,
        detail: "The gateway gave no answer.",
        code: "unreachable",
        correlation_id: "",
        retryable: true,
    });
}
async function errorOf(answer) {
    const retryAfter = Number(answer.headers.get("Retry-After")) || null;
    const type = answer.headers.get("Content-Type") ?? "";
    try {
        if (type.startsWith("application/problem+json")) {
            return new GatewayError((await answer.json()), retryAfter);
        }
    }
    catch {
        // Cut off, or no JSON: told as any other answer that is none of the gateway's.
    }
    return new GatewayError({
        type: "about:blank",
        title: answer.statusText || "Error",
        status: answer.status,
        detail: "Something between here and the gateway has answered.",
        code: "not_a_problem",
        correlation_id: answer.headers.get("X-Correlation-ID") ?? "",
        retryable: answer.status >= 500,
    }, retryAfter);
}
