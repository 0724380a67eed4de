/** The client as React hooks. They stand effects that run twice, as in StrictMode. */

import { useEffect, useMemo, useState } from "react";
import {
  type BatchStatus,
  type GatewayClient,
  GatewayError,
  PipelineButton,
  type PipelineRequest,
} from "./client.js";
import { type Connection, followBatch } from "./live.js";

export interface Followed {
  status: BatchStatus | null;
  connection: Connection | null;
  /** Why the batch is followed no more: sign in again, or show another batch. */
  error: GatewayError | null;
}

const NOTHING: Followed = { status: null, connection: null, error: null };

/** Return how the batch is doing, now and whenever that changes. */
export function useBatch(client: GatewayClient, batchId: string): Followed {
  const [followed, setFollowed] = useState(NOTHING);
  useEffect(() => {
    const stopping = new AbortController();
    const update = (part: Partial<Followed>): void => {
      if (!stopping.signal.aborted) setFollowed((before) => ({ ...before, ...part }));
    };
    setFollowed(NOTHING);
    followBatch(
      client,
      batchId,
      {
        onStatus: (status) => update({ status }),
        onConnection: (connection) => update({ connection }),
      },
      stopping.signal,
    ).catch((error: unknown) => {
      if (error instanceof GatewayError) update({ error });
      else throw error;
    });
    return () => stopping.abort();
  }, [client, batchId]);
  return followed;
}

export interface Pressed {
  press: () => void;
  isAsking: boolean;
  error: GatewayError | null;
}

/** Return what a button needs to ask for the pipeline, once however often it is pressed. */
export function usePipeline(
  client: GatewayClient,
  batchId: string,
  request: PipelineRequest,
): Pressed {
  const button = useMemo(() => new PipelineButton(client), [client]);
  const [asking, setAsking] = useState(0);
  const [error, setError] = useState<GatewayError | null>(null);
  const press = (): void => {
    setError(null);
    setAsking((count) => count + 1);
    button
      .press(batchId, request)
      .catch((failure: unknown) => {
        if (failure instanceof GatewayError) setError(failure);
        else throw failure;
      })
      .finally(() => setAsking((count) => count - 1));
  };
  return { press, isAsking: asking > 0, error };
}
