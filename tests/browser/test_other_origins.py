"""A page of another origin, as React's development server gives one, and what a browser lets it do.

It uses the client that the gateway's own page uses.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser.npm import bundle_example
from tests.support.browser.origin import served_files
from tests.support.gateway.process import gateway_process
from tests.support.gateway.tokens import token_of
from tests.support.gateway.web import Web, batch, phase, run
from tests.support.processes import ROOT, ServiceProcess

DEMO = ROOT / "src" / "api_gateway_service" / "demo"
FILES = {name: (DEMO / name).read_bytes() for name in ("client.js", "live.js")}
PAGE = b"<!doctype html><html lang=en><title>Another origin</title><link rel=icon href=data:,>"

ASK = """async ({ baseUrl, token, batch, times }) => {
    const { GatewayClient, GatewayError } = await import("/client.js");
    const client = new GatewayClient({ baseUrl, token });
    try {
        let answer;
        for (let asked = 0; asked < times; asked++) {
            answer = await client.requestPipeline(batch, { requested_pipeline: "nlp" });
        }
        return { status: 202, answer };
    } catch (error) {
        if (!(error instanceof GatewayError)) throw error;
        return { status: error.problem.status, ...error };
    }
}"""
FOLLOW = """async ({ baseUrl, token, batch }) => {
    const { GatewayClient } = await import("/client.js");
    const { followBatch } = await import("/live.js");
    const client = new GatewayClient({ baseUrl, token });
    const { etag } = await client.getStatus(batch);
    const unchanged = await client.getStatus(batch, { etag });
    const stopping = new AbortController();
    const heard = [];
    const onStatus = (status) => { heard.push(status.status); stopping.abort(); };
    await followBatch(client, batch, { onStatus }, stopping.signal);
    return { etag, unchanged, heard };
}"""
HEADERS = """async ({ baseUrl, token, batch }) => {
    const answer = await fetch(`${baseUrl}/v1/batches/${batch}/pipelines`, {
        method: "POST",
        credentials: "include",
        headers: {
            Authorization: `Bearer ${token}`,
            "Content-Type": "application/json",
            "Idempotency-Key": "a key",
            "X-Correlation-ID": "0b0f5a0e-6a86-4b4c-9b5e-0d6a4d2f1c11",
        },
        body: JSON.stringify({ requested_pipeline: "nlp" }),
    });
    return Object.fromEntries(answer.headers);
}"""

READ = """async ({ baseUrl, token, batch }) => {
    const headers = { Authorization: `Bearer ${token}` };
    const asked = fetch(`${baseUrl}/v1/batches/${batch}/status`, { headers });
    return asked.then((answer) => answer.status, (error) => error.name);
}"""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with served_files(FILES | {"index.html": PAGE}) as origin:
        yield origin


@asynccontextmanager
async def page_at(browser: Browser, origin: str) -> AsyncIterator[Page]:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(origin)
    yield page
    await context.close()


@pytest.fixture
async def page(browser: Browser, origin: str) -> AsyncIterator[Page]:
    async with page_at(browser, origin) as page:
        yield page


def gateway_for(
    origin: str, web: Web, kafka: str, **changes: object
) -> AbstractContextManager[tuple[ServiceProcess, str]]:
    """Start a gateway that pages of the origin may call."""
    return gateway_process(
        BOS_URL=web.url,
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        CORS_ORIGINS=json.dumps([origin]),
        **changes,
    )


async def test_a_page_of_a_known_origin_reads_every_answer(
    page: Page, origin: str, web: Web, batch_id: str, kafka: str
) -> None:
    web.put(batch(batch_id))
    with gateway_for(origin, web, kafka) as (_, address):
        asked = {"baseUrl": address, "token": token_of(), "batch": batch_id, "times": 1}
        answers = [
            await page.evaluate(ASK, asked | change)
            for change in (
                {},
                {"token": "no token"},
                {"token": token_of(scope="batches:read")},
                {"batch": "batch-unknown"},
                {"batch": "not a batch"},
                {"times": 6},
            )
        ]

    assert [one["status"] for one in answers] == [202, 401, 403, 404, 422, 429]
    assert answers[0]["answer"]["batch_id"] == batch_id
    codes = [one["problem"]["code"] for one in answers[1:]]
    assert codes == [
        "unauthorized",
        "insufficient_scope",
        "unknown_batch",
        "invalid_fields",
        "rate_limited",
    ]
    assert [one["problem"]["retryable"] for one in answers[1:]] == [False] * 4 + [True]
    assert 1 <= answers[-1]["retryAfter"] <= 10  # the header is shown to the page


async def test_a_page_of_a_known_origin_reads_a_fault_of_ours(
    page: Page, origin: str, web: Web, batch_id: str, kafka: str
) -> None:
    web.put(batch(batch_id))
    with gateway_for(origin, web, kafka, FAILPOINT="gateway.claimed:1:raise") as (_, address):
        asked = {"baseUrl": address, "token": token_of(), "batch": batch_id, "times": 1}
        answer = await page.evaluate(ASK, asked)

    assert (answer["status"], answer["problem"]["code"]) == (500, "internal_error")
    assert answer["problem"]["retryable"] is False


async def test_a_page_of_a_known_origin_reads_tags_and_streams(
    page: Page, origin: str, web: Web, batch_id: str, kafka: str
) -> None:
    web.put(batch(batch_id))
    with gateway_for(origin, web, kafka) as (_, address):
        asked = {"baseUrl": address, "token": token_of(), "batch": batch_id}
        seen = await page.evaluate(FOLLOW, asked)
        headers = await page.evaluate(HEADERS, asked)

    assert seen["etag"].startswith('"')
    assert (seen["unchanged"], seen["heard"]) == (None, ["ready"])
    assert headers["x-correlation-id"] == "0b0f5a0e-6a86-4b4c-9b5e-0d6a4d2f1c11"
    assert {"location", "ratelimit", "ratelimit-policy"} <= headers.keys()


async def test_a_page_of_any_other_origin_reads_nothing(
    page: Page, web: Web, batch_id: str, kafka: str
) -> None:
    web.put(batch(batch_id))
    with gateway_for("https://app.example", web, kafka) as (_, address):
        asked = {"baseUrl": address, "token": token_of(), "batch": batch_id}
        answer = await page.evaluate(READ, asked)

    assert answer == "TypeError"
    assert not [path for path in web.asked if batch_id in path]  # the browser did not even ask


async def test_the_react_example_runs_in_strict_mode(
    browser: Browser, web: Web, batch_id: str, kafka: str
) -> None:
    """Effects run twice there: one stream is left, and a double click is one request."""
    script = bundle_example()
    web.put(batch(batch_id, "teacher", "processing_pipelines", run(phases=[phase("nlp")])))
    files = {"app.js": script, "index.html": b""}
    with served_files(files) as origin, gateway_for(origin, web, kafka) as (_, address):
        root = f'<div id="root" data-gateway="{address}"></div>'
        files["index.html"] = PAGE + f'{root}<script type="module" src="/app.js"></script>'.encode()
        async with page_at(browser, origin) as page:
            methods: list[str] = []
            page.on("request", lambda one: methods.append(one.method))
            await page.get_by_label("Token").fill(token_of())
            await page.get_by_label("Batch").fill(batch_id)
            await page.get_by_role("button", name="Open").click()
            line = page.get_by_role("listitem")
            await expect(line).to_have_text("nlp: dispatch_initiated")
            await page.get_by_role("button", name="Run NLP").dblclick()
            done = [phase("nlp", "completed_successfully", completed=3)]
            web.put(batch(batch_id, "teacher", "completed_successfully", run(phases=done)))
            await expect(line).to_have_text("nlp: completed_successfully")

    assert methods.count("POST") == 1
