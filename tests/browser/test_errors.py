"""Errors as people read them: what happened, what to do, and when."""

import time

import pytest
from playwright.async_api import Browser, expect

from common_core.pipeline_state import PhaseState
from tests.support.browser.demo import DemoPage, demo_page
from tests.support.gateway.process import gateway_process
from tests.support.gateway.tokens import token_of, unsigned_token
from tests.support.gateway.web import Web, batch, phase, run

PIPELINES = ("Spellcheck only", "NLP", "CJ assessment", "AI feedback", "Comprehensive")


@pytest.mark.parametrize(
    "token", [token_of(exp=int(time.time()) - 60), unsigned_token(), "no token at all", ""]
)
async def test_a_bad_token_asks_for_another(demo: DemoPage, batch_id: str, token: str) -> None:
    await demo.load(batch_id)
    await demo.sign_in(token)

    await demo.see_alert("This token is not taken")
    await expect(demo.page.get_by_label("Token")).to_be_focused()
    await expect(demo.page.get_by_label("Token")).to_have_value("")


async def test_a_token_that_ends_while_the_page_is_open_asks_for_another(
    demo: DemoPage, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))
    # Taken for 30 s after its end, which are over in four.
    await demo.enter(batch_id, token_of(exp=int(time.time()) - 26))

    await demo.see_alert("This token is not taken")
    await expect(demo.page.get_by_label("Token")).to_be_focused()
    await demo.sign_in()
    await demo.see_connection("Live")


async def test_a_token_without_the_right_says_which(
    demo: DemoPage, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))
    await demo.enter(batch_id, token_of(scope="batches:read"))
    await demo.run("NLP")

    await demo.see_alert("Your token does not allow this")
    await demo.see_alert("pipelines:run")


async def test_another_s_batch_and_none_are_the_same(
    demo: DemoPage, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id, "somebody else"))
    texts = []
    for name in (batch_id, "batch-unknown"):
        await demo.load(name)
        await demo.sign_in()
        await demo.see_alert("There is no such batch, or it is not yours")
        texts.append((await demo.page.get_by_role("alert").inner_text()).split(", number")[0])
        await expect(demo.page.get_by_label("Batch")).to_be_focused()

    assert texts[0] == texts[1]


async def test_a_batch_that_cannot_be_one_says_which_field(demo: DemoPage) -> None:
    await demo.load("not a batch")
    await demo.sign_in()

    await demo.see_alert("Something in this request cannot be right")
    await demo.see_alert("The name of a batch has letters, digits and")


async def test_too_many_presses_say_when_to_press_again(
    demo: DemoPage, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))
    await demo.enter(batch_id)
    for count, pipeline in enumerate(PIPELINES, start=1):
        await demo.run(pipeline)
        await expect(demo.page.locator("#requests > li")).to_contain_text(["Accepted"] * count)
    await demo.run("NLP")

    await demo.see_alert("That was too often")
    await demo.see_alert("seconds")
    await demo.photograph("too-often")
    await expect(demo.page.locator("#run-button")).to_have_text("Run")
    await demo.run("NLP")
    await expect(demo.page.locator("#requests > li")).to_have_count(6)
    await expect(demo.page.get_by_role("alert")).to_be_empty()
    answers = [one.status for one in demo.answers if one.url.endswith("/pipelines")]
    assert answers == [202] * 5 + [429, 202]


async def test_a_request_of_which_nobody_knows_is_pressed_again_under_its_key(
    browser: Browser, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))
    with gateway_process(
        ENVIRONMENT="development",
        BOS_URL=web.url,
        KAFKA_SEND_TIMEOUT_SECONDS=1.1,
        RATE_LIMIT_PIPELINES_BURST=20,
    ) as (_, address):
        async with demo_page(browser, address) as demo:
            await demo.enter(batch_id)
            await demo.run("NLP")
            await demo.see_alert("It is not known whether the request arrived")
            await demo.see_alert("Press the button again: it is not run twice.")
            tried = len(demo.sent("POST", "/pipelines"))
            async with demo.page.expect_request("**/pipelines"):
                await demo.run("NLP")

            keys = [one.headers["idempotency-key"] for one in demo.sent("POST", "/pipelines")]
            assert tried > 1  # by itself, before a person was told
            assert len(keys) > tried
            assert len(set(keys)) == 1


async def test_what_comes_from_outside_never_becomes_markup(
    demo: DemoPage, web: Web, batch_id: str
) -> None:
    harm = "<img src=x onerror=alert(1)>"
    phases: list[PhaseState] = [
        phase(harm, harm),
        phase("nlp", "skipped_by_user_config", skip_reason=harm),
    ]
    web.put(batch(batch_id, "teacher", "processing_pipelines", run(harm, harm, phases=phases)))
    await demo.enter(batch_id, token_of("teacher"))

    await expect(demo.page.locator("#phases > li").first).to_contain_text(harm)
    await expect(demo.page.locator("#requests > li")).to_contain_text(harm)
    assert await demo.page.locator("img").count() == 0


async def test_nothing_comes_from_elsewhere_and_no_token_stands_in_an_address(
    demo: DemoPage, web: Web, batch_id: str, address: str
) -> None:
    web.put(batch(batch_id))
    token = token_of()
    await demo.enter(batch_id, token)
    await demo.run("NLP")
    await expect(demo.page.locator("#announcement")).to_contain_text("accepted")

    addresses = [one.url for one in demo.requests if not one.url.startswith("data:")]
    assert [one for one in addresses if not one.startswith(f"{address}/")] == []
    assert [one for one in addresses if token in one] == []
    kept = await demo.page.evaluate(
        "JSON.stringify([localStorage, sessionStorage, document.cookie])"
    )
    assert token not in kept
