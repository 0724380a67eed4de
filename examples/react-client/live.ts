/**
 * Live updates: server-sent events read with `fetch`, since a token never stands in a URL, and
 * polling with ETag where no stream can be had.
 */

import { type BatchStatus, type GatewayClient, GatewayError, pause, unreachable } from "./client.js";

/** How the updates come now. `reconnecting` and `polling` may say why it is not `live`. */
export interface Connection {
  kind: "live" | "reconnecting" | "polling";
  error?: GatewayError;
}

export interface BatchListener {
  onStatus: (status: BatchStatus) => void;
  onConnection?: (connection: Connection) => void;
}

export interface StreamEvent {
  name: string;
  id: string;
  data: string;
}

const OPENING_SECONDS = 5; // within which a stream says something; a proxy may hold it back
const SILENCE_SECONDS = 40; // the gateway sends a comment every 15 s
const RECONNECT_MS = 2000; // until the gateway has said what it wants
const POLL_SECONDS = 3;
const POLLS = 5; // before a stream is tried again

/**
 * Follow the batch until the signal is aborted. Waits out whatever waiting repairs.
 *
 * @throws GatewayError nothing here repairs: the token has ended, or the batch is not there.
 */
export async function followBatch(
  client: GatewayClient,
  batchId: string,
  listener: BatchListener,
  signal: AbortSignal,
): Promise<void> {
  try {
    await new Follower(client, batchId, listener, signal).run();
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

class Follower {
  private lastEventId: string | null = null;
  private reconnectMs = RECONNECT_MS;

  constructor(
    private readonly client: GatewayClient,
    private readonly batchId: string,
    private readonly listener: BatchListener,
    private readonly signal: AbortSignal,
  ) {}

  async run(): Promise<never> {
    for (;;) {
      const error = await this.listen();
      if (error) {
        await this.poll(error);
      } else {
        this.listener.onConnection?.({ kind: "reconnecting" });
        await pause(this.reconnectMs * (1 + Math.random() / 4), this.signal);
      }
    }
  }

  /** Listen to one stream until its end; return why there was none. */
  private async listen(): Promise<GatewayError | null> {
    const ending = new AbortController();
    const signal = AbortSignal.any([this.signal, ending.signal]);
    let hasBegun = false;
    const begin = (): void => {
      if (!hasBegun) this.listener.onConnection?.({ kind: "live" });
      hasBegun = true;
    };
    try {
      const options = { lastEventId: this.lastEventId, signal };
      const stream = await this.client.openEvents(this.batchId, options);
      const chunks = chunksOf(stream, begin, () => ending.abort());
      for await (const event of eventsOf(chunks)) this.hear(event);
      return null;
    } catch (error) {
      const why = this.waitable(error);
      return hasBegun ? null : why;
    } finally {
      ending.abort();
    }
  }

  private hear(event: StreamEvent): void {
    if (event.name === "retry") this.reconnectMs = Number(event.data) || RECONNECT_MS;
    if (event.name !== "status") return;
    this.lastEventId = event.id;
    this.listener.onStatus(JSON.parse(event.data) as BatchStatus);
  }

  private async poll(why: GatewayError): Promise<void> {
    let error: GatewayError | undefined = why;
    let etag: string | null = null;
    for (let polls = 0; polls < POLLS; polls++) {
      this.listener.onConnection?.({ kind: "polling", error });
      try {
        const changed = await this.client.getStatus(this.batchId, { etag, signal: this.signal });
        etag = changed?.etag ?? etag;
        if (changed) this.listener.onStatus(changed.status);
        error = undefined;
      } catch (failure) {
        error = this.waitable(failure);
      }
      await pause((error?.retryAfter ?? POLL_SECONDS) * 1000, this.signal);
    }
  }

  /** Return the error if waiting may repair it; throw it if not. */
  private waitable(error: unknown): GatewayError {
    this.signal.throwIfAborted();
    if (error instanceof GatewayError && error.problem.retryable) return error;
    throw error;
  }
}

/**
 * Yield what arrives. `onBegin` is called with it, `onSilence` when nothing comes for so long that
 * nothing more will: a laptop has slept, or a proxy keeps it all.
 */
async function* chunksOf(
  stream: ReadableStream<Uint8Array>,
  onBegin: () => void,
  onSilence: () => void,
): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  let timer = setTimeout(onSilence, OPENING_SECONDS * 1000);
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => {
        throw unreachable();
      });
      clearTimeout(timer);
      if (done) return;
      timer = setTimeout(onSilence, SILENCE_SECONDS * 1000);
      onBegin();
      yield value;
    }
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Yield the events of a stream, as the HTML standard has it: lines end in LF, CR or both, comments
 * begin with a colon. The wish for another time to reconnect is an event named `retry` here.
 */
export async function* eventsOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<StreamEvent> {
  let id = "";
  let name = "";
  let data: string[] = [];
  for await (const line of linesOf(chunks)) {
    const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === "event") name = value;
    if (field === "data") data.push(value);
    if (field === "id") id = value;
    if (field === "retry") yield { name: "retry", id, data: value };
    if (line !== "") continue;
    if (data.length) yield { name: name || "message", id, data: data.join("\n") };
    [name, data] = ["", []];
  }
}

async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of chunks) {
    text += decoder.decode(chunk, { stream: true });
    // A CR at the end may be half of a CR LF.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    text = lines.pop() ?? "";
    yield* lines;
  }
}
