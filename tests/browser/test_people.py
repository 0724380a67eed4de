"""Whoever uses the page, and whatever on: by keyboard, by ear, in the dark, on a phone."""

import json
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, expect

from common_core.pipeline_state import PipelineState
from tests.support.browser.demo import DESKTOP, PHONE, DemoPage, demo_page
from tests.support.gateway.tokens import token_of
from tests.support.gateway.web import Web, batch, phase, run

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESKTOP},
    "dark": {"viewport": DESKTOP, "is_dark": True},
    "phone": {"viewport": PHONE, "is_phone": True},
    "phone-dark": {"viewport": PHONE, "is_phone": True, "is_dark": True},
}


def everything(batch_id: str) -> PipelineState:
    """Return a batch in which there is one of everything that can be shown."""
    phases = [
        phase("spellcheck", "skipped_by_user_config", total=0, skip_reason="already_completed"),
        phase("nlp", "completed_successfully", completed=30, total=30),
        phase("cj_assessment", "completed_with_partial_success", completed=28, failed=2, total=30),
        phase("ai_feedback", "in_progress", completed=12, total=30),
        phase("a_phase_that_is_newer_than_this_page", "failed", failed=30, total=30),
        phase("ai_feedback", "requested_by_user", total=0),
    ]
    return batch(
        batch_id,
        "teacher",
        "processing_pipelines",
        run("comprehensive", "running", phases=phases),
        run("cj_assessment", "completed_with_failures", phases=[]),
        run("ai_feedback", "rejected", reason="prerequisite_missing", phases=[]),
    )


@pytest.mark.parametrize("look", LOOKS)
async def test_everybody_can_read_it(
    browser: Browser, address: str, web: Web, batch_id: str, look: str
) -> None:
    """No fault that axe finds, contrast among them, and nothing to scroll for sideways."""
    web.put(everything(batch_id))
    async with demo_page(browser, address, **LOOKS[look]) as demo:
        await demo.load(batch_id)
        await demo.photograph(f"{look}-sign-in")
        await see_no_fault(demo)
        await demo.sign_in()
        await demo.see_connection("Live")
        await expect(demo.page.locator("#phases > li")).to_have_count(6)
        await demo.photograph(f"{look}-batch")
        await see_no_fault(demo)

        await demo.page.get_by_text("What goes over the wire").click()
        await demo.page.get_by_label("Batch", exact=True).fill("not a batch")
        await demo.page.get_by_role("button", name="Open").click()
        await demo.see_alert("Something in this request cannot be right")
        await demo.photograph(f"{look}-error")
        await see_no_fault(demo)


async def see_no_fault(demo: DemoPage) -> None:
    found = await Axe().run(demo.page)
    width = await demo.page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )

    assert found.violations_count == 0, found.generate_report()
    assert width == 0


async def test_everything_can_be_done_by_keyboard(demo: DemoPage, web: Web, batch_id: str) -> None:
    web.put(batch(batch_id, "teacher", "completed_with_failures", run(phases=[phase("nlp")])))
    keyboard = demo.page.keyboard
    await demo.load(batch_id)
    await keyboard.type(token_of())
    await keyboard.press("Enter")
    await demo.see_connection("Live")

    met = [await focused(demo)]
    while met[-1] != "Run":
        await keyboard.press("Tab")
        met.append(await focused(demo))
        assert len(met) < 10, met
        if met[-1] == "Pipeline":
            await keyboard.type("cj")
    await keyboard.press("Enter")

    await expect(demo.page.locator("#requests > li").first).to_contain_text("CJ assessment")
    assert await focused(demo) == "Run"  # where a person goes on, though much has changed
    await keyboard.press("Tab")
    assert await focused(demo) == "Try again what failed"
    await keyboard.press("Space")
    await expect(demo.page.locator("#requests > li")).to_have_count(3)
    sent = [json.loads(one.post_data or "") for one in demo.sent("POST", "/pipelines")]
    assert [one["requested_pipeline"] for one in sent] == ["cj_assessment", "nlp"]
    assert [one.get("is_retry", False) for one in sent] == [False, True]


async def focused(demo: DemoPage) -> str:
    """Return the name of what has the focus, which must be seen to have it."""
    name, outline = await demo.page.evaluate(
        """() => {
            const it = document.activeElement;
            const name = it.labels?.[0]?.textContent ?? it.textContent;
            return [name.trim(), getComputedStyle(it).outlineStyle];
        }"""
    )
    assert outline != "none" or name.startswith("Batches"), name  # the page itself has none
    return str(name)


async def test_who_listens_to_the_page_hears_what_changes(
    demo: DemoPage, web: Web, batch_id: str
) -> None:
    heard = demo.page.get_by_role("status")
    phases = [phase("spellcheck", "in_progress", completed=1)]
    web.put(batch(batch_id, "teacher", "processing_pipelines", run(phases=phases)))
    await demo.enter(batch_id)
    await expect(heard).to_have_text("Spellcheck: Working, 1 of 3 essays.")

    done = [phase("spellcheck", "completed_successfully", completed=3)]
    web.put(batch(batch_id, "teacher", "completed_successfully", run(phases=done)))

    await expect(heard).to_have_text("Spellcheck: Completed, 3 of 3 essays. Completed.")


async def test_motion_stops_for_those_who_do_not_want_it(
    demo: DemoPage, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id, "teacher", "processing_pipelines", run()))
    turning = "getComputedStyle(document.querySelector('.turning')).animationName"
    await demo.enter(batch_id)
    assert await demo.page.evaluate(turning) == "turning"

    await demo.page.emulate_media(reduced_motion="reduce")

    assert await demo.page.evaluate(turning) == "none"
