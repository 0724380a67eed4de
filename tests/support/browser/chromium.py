"""A real browser: Debian's Chromium, or another that the machine has, without a window."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NONE_FOUND = "no browser: install chromium, run `make browser`, or name one in CHROMIUM"
LAUNCH_MS = 60_000  # on a machine that is busy with the other tests


def find_chromium() -> str | None:
    """Return the browser that CHROMIUM names, or the first on the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def need_chromium() -> str:
    """Return the browser; without one the test is skipped here, and fails in CI."""
    if path := find_chromium():
        return path
    if os.environ.get("CI"):
        pytest.fail(NONE_FOUND)
    pytest.skip(NONE_FOUND)


@asynccontextmanager
async def browser_at(path: str) -> AsyncIterator[Browser]:
    """Run the browser until the end of the block."""
    # Chromium refuses its sandbox to root; it loads pages of this machine only.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=arguments, timeout=LAUNCH_MS
        )
        yield browser
        await browser.close()
