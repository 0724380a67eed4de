"""The gateway's page, as a person sees and uses it: by what is written on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Page, Request, Response, ViewportSize, expect

from tests.support.gateway.tokens import token_of
from tests.support.processes import ROOT

SCREENSHOTS = ROOT / ".screenshots"
DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=360, height=740)
WAIT_MS = 20_000

expect.set_options(timeout=WAIT_MS)


class DemoPage:
    """One tab; `requests`, `answers` and `faults` have all that went to and fro in it.

    Attributes:
        faults: what the page's scripts have thrown, and what the browser did not let them do.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self._address = address
        self.requests: list[Request] = []
        self.answers: list[Response] = []
        self.faults: list[str] = []
        page.on("request", self._keep_request)
        page.on("response", self._keep_answer)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self._hear(message.type, message.text))

    async def load(self, batch: str = "") -> None:
        """Load the page, as the address that `make run` prints does."""
        await self.page.goto(f"{self._address}/demo" + (f"?batch={batch}" if batch else ""))

    async def sign_in(self, token: str | None = None) -> None:
        """Paste a token, and press the button."""
        await self.page.get_by_label("Token").fill(token_of() if token is None else token)
        await self.page.get_by_role("button", name="Sign in").click()

    async def enter(self, batch: str, token: str | None = None) -> None:
        """Load the page, sign in, and see the batch."""
        await self.load(batch)
        await self.sign_in(token)
        await expect(self.page.get_by_role("heading", name=batch)).to_be_visible()

    async def run(self, pipeline: str) -> None:
        """Choose a pipeline, and press the button."""
        await self.page.get_by_label("Pipeline", exact=True).select_option(label=pipeline)
        await self.page.get_by_role("button", name="Run").click()

    async def see_phases(self, *lines: str) -> None:
        """Wait until exactly these phases are shown, each with its words."""
        await expect(self.page.locator("#phases > li")).to_have_text(list(lines))

    async def see_alert(self, text: str) -> None:
        """Wait for an error with these words."""
        await expect(self.page.get_by_role("alert")).to_contain_text(text)

    async def see_connection(self, text: str) -> None:
        """Wait until it says so of how updates come."""
        await expect(self.page.locator("#connection")).to_contain_text(text)

    def sent(self, method: str, ending: str) -> list[Request]:
        """Return the requests of that kind."""
        return [one for one in self.requests if one.method == method and one.url.endswith(ending)]

    async def photograph(self, name: str) -> Path:
        """Keep a picture of the whole page."""
        path = SCREENSHOTS / f"{name}.png"
        await self.page.screenshot(path=path, full_page=True)
        return path

    # Playwright marks the functions that it calls, which those of a list do not take.
    def _keep_request(self, request: Request) -> None:
        self.requests.append(request)

    def _keep_answer(self, answer: Response) -> None:
        self.answers.append(answer)

    def _hear(self, kind: str, text: str) -> None:
        # A failed request is an error to the browser; the page's own word about it is tested.
        if kind == "error" and "Failed to load resource" not in text:
            self.faults.append(text)


@asynccontextmanager
async def demo_page(
    browser: Browser,
    address: str,
    *,
    viewport: ViewportSize = DESKTOP,
    is_dark: bool = False,
    is_phone: bool = False,
) -> AsyncIterator[DemoPage]:
    """Open a tab of its own; at its end nothing may have gone wrong in it."""
    context = await browser.new_context(
        viewport=viewport,
        color_scheme="dark" if is_dark else "light",
        is_mobile=is_phone,
        has_touch=is_phone,
        device_scale_factor=2 if is_phone else 1,
        locale="en-GB",
        timezone_id="Europe/Stockholm",
    )
    context.set_default_timeout(WAIT_MS)
    demo = DemoPage(await context.new_page(), address)
    yield demo
    await context.close()
    assert demo.faults == []
