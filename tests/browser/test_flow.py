"""A person presses the button, watches the phases, presses again, and sees spellcheck skipped."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, expect

from alembic import command
from tests.support.bos_database import bos_config
from tests.support.browser.demo import DemoPage, demo_page
from tests.support.flow import TOPICS, Neighbours, bos_process, get_state, neighbours_of
from tests.support.flow_waiting import ESSAYS, until_commanded
from tests.support.gateway.process import gateway_process
from tests.support.stack import Stack, stack
from tests.support.topics import ensure_topics
from tests.support.waiting import eventually

__all__ = ["stack"]

ALREADY = "completed earlier, and nothing has changed since"


@dataclass
class Flow:
    """The page in a browser, three services behind it, and the neighbours beyond these."""

    demo: DemoPage
    neighbours: Neighbours
    batch: str
    bos: str

    async def register(self) -> None:
        """Have the batch registered, and wait until BOS has heard of it."""
        await self.neighbours.register(self.batch, ESSAYS)

        async def is_known() -> bool:
            return (await get_state(self.bos, self.batch)).get("batch_id") == self.batch

        await eventually(is_known, timeout_seconds=60, what="the registration")

    async def answer(self) -> None:
        """Have the neighbours do what they were last commanded."""
        phase, envelope = self.neighbours.journal.commands(self.batch)[-1]
        await self.neighbours.answer(phase, envelope)


@pytest.fixture
async def flow(browser: Browser, stack: Stack, batch_id: str) -> AsyncIterator[Flow]:
    await asyncio.to_thread(command.upgrade, bos_config(stack.postgres.url), "head")
    await ensure_topics(stack.kafka_bootstrap_servers, *TOPICS)
    with (
        stack.serve() as (_, bcs),
        bos_process(stack, bcs) as (_, bos),
        gateway_process(
            ENVIRONMENT="development",
            BOS_URL=bos,
            KAFKA_BOOTSTRAP_SERVERS=stack.kafka_bootstrap_servers,
        ) as (_, address),
    ):
        async with (
            neighbours_of(stack) as neighbours,
            demo_page(browser, address) as demo,
        ):
            yield Flow(demo=demo, neighbours=neighbours, batch=batch_id, bos=bos)


async def test_the_button_runs_what_is_left_and_the_page_shows_it(flow: Flow) -> None:
    demo, neighbours, batch = flow.demo, flow.neighbours, flow.batch
    neighbours.silent = {"spellcheck", "nlp", "cj_assessment"}
    await flow.register()
    await demo.load(batch)
    await demo.photograph("sign-in")
    await demo.sign_in()
    await demo.see_connection("Live")
    await expect(demo.page.locator("#summary")).to_have_text(
        "Nothing has run yet. Choose a pipeline, and run it."
    )

    await demo.run("NLP")
    await demo.see_phases("SpellcheckWorking · 3 essays", "NLPTo come")
    await until_commanded(neighbours, batch, 1)
    await demo.photograph("working")
    await flow.answer()
    await demo.see_phases("SpellcheckCompleted · 3 of 3 essays", "NLPWorking · 3 essays")
    await until_commanded(neighbours, batch, 2)
    await flow.answer()
    await demo.see_phases("SpellcheckCompleted · 3 of 3 essays", "NLPCompleted · 3 of 3 essays")

    await demo.run("CJ assessment")
    await demo.see_phases(f"SpellcheckSkipped · {ALREADY}", "CJ assessmentWorking · 3 essays")
    await until_commanded(neighbours, batch, 3)
    await demo.photograph("spellcheck-skipped")
    await flow.answer()
    await expect(demo.page.locator("#status")).to_have_text("Completed")

    await demo.run("CJ assessment")
    await expect(demo.page.locator("#summary")).to_have_text(
        "Nothing to do: all that CJ assessment makes is there already."
    )
    assert [phase for phase, _ in neighbours.journal.commands(batch)] == [
        "spellcheck",
        "nlp",
        "cj_assessment",
    ]


async def test_a_double_click_is_one_run(flow: Flow) -> None:
    await flow.register()
    await flow.demo.enter(flow.batch)

    await flow.demo.page.get_by_role("button", name="Run").dblclick()

    await expect(flow.demo.page.locator("#requests > li")).to_contain_text(["Completed"])
    await asyncio.sleep(1.5)  # a second run would begin by now
    assert await flow.demo.page.locator("#requests > li").count() == 1
    assert len(flow.neighbours.journal.commands(flow.batch)) == 2


async def test_what_failed_is_tried_again_at_a_press(flow: Flow) -> None:
    demo, neighbours = flow.demo, flow.neighbours
    neighbours.failing = {"spellcheck": frozenset({"e2"})}
    await flow.register()
    await demo.enter(flow.batch)
    await demo.run("NLP")
    await demo.see_phases(
        "SpellcheckCompleted in part · 2 of 3 essays, 1 failed",
        "NLPCompleted in part · 2 of 2 essays",
    )
    await demo.photograph("failures")
    neighbours.failing = {}

    await demo.page.get_by_role("button", name="Try again what failed").click()

    await demo.see_phases("SpellcheckCompleted · 1 of 1 essay", "NLPCompleted · 1 of 1 essay")
    await expect(demo.page.locator("#status")).to_have_text("Completed")
