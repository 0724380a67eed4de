"""Live updates, through all that cuts, refuses or holds them back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser

from tests.support.browser.demo import DemoPage, demo_page
from tests.support.faults.proxy import FaultyProxy, ProxyThread
from tests.support.gateway.process import gateway_process
from tests.support.gateway.streams import listening
from tests.support.gateway.tokens import bearer
from tests.support.gateway.web import Web, batch, phase, run


@dataclass
class Cut:
    """The page behind a wire that can be cut."""

    demo: DemoPage
    proxy: FaultyProxy
    thread: ProxyThread

    def reset(self) -> None:
        """Reset every connection of the page."""
        self.thread.reset(self.proxy)


@pytest.fixture
def thread() -> Iterator[ProxyThread]:
    thread = ProxyThread()
    yield thread
    thread.close()


@pytest.fixture
async def cut(browser: Browser, address: str, thread: ProxyThread) -> AsyncIterator[Cut]:
    proxy = FaultyProxy(urlsplit(address).port or 0)
    thread.add(proxy)
    async with demo_page(browser, f"http://127.0.0.1:{proxy.port}") as demo:
        yield Cut(demo=demo, proxy=proxy, thread=thread)


def working(web: Web, name: str, status: str) -> None:
    """Have the batch's only phase in that status."""
    phases = [phase("spellcheck", status)]
    web.put(batch(name, "teacher", "processing_pipelines", run(phases=phases)))


async def test_a_dropped_connection_is_opened_again_where_it_was(
    cut: Cut, web: Web, batch_id: str
) -> None:
    working(web, batch_id, "requested_by_user")
    await cut.demo.enter(batch_id)
    await cut.demo.see_connection("Live")

    cut.reset()
    working(web, batch_id, "in_progress")

    await cut.demo.see_phases("SpellcheckWorking · 3 essays")
    await cut.demo.see_connection("Live")
    first, *_, last = cut.demo.sent("GET", "/events")
    assert cut.proxy.fired
    assert "last-event-id" not in first.headers
    assert last.headers["last-event-id"]
    assert not cut.demo.sent("GET", "/status")


async def test_a_gateway_that_is_away_is_said_and_found_again(
    cut: Cut, web: Web, batch_id: str
) -> None:
    working(web, batch_id, "requested_by_user")
    await cut.demo.enter(batch_id)
    cut.proxy.is_refusing = True
    cut.reset()
    await cut.demo.see_connection("Asking every few seconds: the gateway cannot be reached")

    working(web, batch_id, "in_progress")
    cut.proxy.heal()

    await cut.demo.see_phases("SpellcheckWorking · 3 essays")
    await cut.demo.see_connection("Live")


async def test_a_page_goes_on_with_the_gateway_that_takes_over(
    cut: Cut, web: Web, batch_id: str
) -> None:
    working(web, batch_id, "requested_by_user")
    await cut.demo.enter(batch_id)
    await cut.demo.see_connection("Live")
    with gateway_process(ENVIRONMENT="development", BOS_URL=web.url) as (_, other):
        cut.proxy.forward_to(urlsplit(other).port or 0)
        cut.reset()
        working(web, batch_id, "in_progress")

        await cut.demo.see_phases("SpellcheckWorking · 3 essays")
        await cut.demo.see_connection("Live")


async def test_without_a_stream_the_page_asks_and_sends_the_tag(
    demo: DemoPage, web: Web, batch_id: str, address: str
) -> None:
    working(web, batch_id, "requested_by_user")
    async with AsyncExitStack() as others:
        for _ in range(5):
            await others.enter_async_context(listening(address, batch_id, bearer()))
        await demo.enter(batch_id)
        await demo.see_connection("Asking every few seconds")
        async with demo.page.expect_response(lambda answer: answer.status == 304):
            pass
        working(web, batch_id, "in_progress")
        await demo.see_phases("SpellcheckWorking · 3 essays")
    await demo.see_connection("Live")

    first, second, *_ = demo.sent("GET", "/status")
    assert "if-none-match" not in first.headers
    assert second.headers["if-none-match"]


async def test_a_wire_that_went_silent_is_noticed(cut: Cut, web: Web, batch_id: str) -> None:
    """As after a laptop has slept: nothing comes, and nothing says that nothing will."""
    await cut.demo.page.clock.install()
    working(web, batch_id, "requested_by_user")
    await cut.demo.enter(batch_id)
    await cut.demo.see_connection("Live")
    cut.proxy.is_silent = True
    working(web, batch_id, "in_progress")

    await asyncio.sleep(2)  # the news is held back
    await cut.demo.see_phases("SpellcheckTo come · 3 essays")
    await cut.demo.page.clock.fast_forward(41_000)
    cut.proxy.heal()

    await cut.demo.see_phases("SpellcheckWorking · 3 essays")
    assert len(cut.demo.sent("GET", "/events")) == 2


async def test_an_orchestrator_that_is_away_is_said_and_found_again(
    demo: DemoPage, web: Web, batch_id: str
) -> None:
    working(web, batch_id, "requested_by_user")
    web.broken = (500, b"")
    await demo.load(batch_id)
    await demo.sign_in()
    await demo.see_connection("the status cannot be read now")

    web.broken = None

    await demo.see_phases("SpellcheckTo come · 3 essays")
    await demo.see_connection("Live")
