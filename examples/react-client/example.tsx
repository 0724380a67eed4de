/** The smallest page: a batch's phases, live, and a button. */
import { StrictMode, useMemo, useState } from "react";
import { createRoot } from "react-dom/client";
import { GatewayClient } from "./client.js";
import { useBatch, usePipeline } from "./use-batch.js";

const NLP = { requested_pipeline: "nlp" };

function Batch({ client, batchId }: { client: GatewayClient; batchId: string }) {
  const { status, connection, error } = useBatch(client, batchId);
  const run = usePipeline(client, batchId, NLP);
  const problem = run.error ?? error ?? connection?.error;
  return (
    <main>
      <h1>{batchId}</h1>
      <p>{status?.status ?? "loading"}</p>
      <button type="button" onClick={run.press} aria-busy={run.isAsking}>
        Run NLP
      </button>
      {problem && <p role="alert">{problem.message}</p>}
      <ol>
        {status?.details.phases.map((phase) => (
          <li key={phase.name}>
            {phase.name}: {phase.skip_reason ?? phase.status}
          </li>
        ))}
      </ol>
    </main>
  );
}

/** Show the page; the token is one that `useBatch`'s user has pasted, or an identity service gave. */
function App({ baseUrl }: { baseUrl: string }) {
  const [token, setToken] = useState("");
  const [batchId, setBatchId] = useState("");
  const client = useMemo(() => new GatewayClient({ baseUrl, token }), [baseUrl, token]);
  if (token && batchId) return <Batch client={client} batchId={batchId} />;
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget);
        setToken(String(form.get("token")));
        setBatchId(String(form.get("batch")));
      }}
    >
      <label>
        Token <input name="token" type="password" required />
      </label>
      <label>
        Batch <input name="batch" required />
      </label>
      <button type="submit">Open</button>
    </form>
  );
}

const root = document.getElementById("root");
if (!root) throw new Error("the page has no element with the id root");
createRoot(root).render(
  <StrictMode>
    <App baseUrl={root.dataset.gateway ?? "http://localhost:4001"} />
  </StrictMode>,
);
