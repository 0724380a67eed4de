from collections.abc import AsyncIterator

import pytest

from tests.support.api import TestedApp


@pytest.fixture
async def tested() -> AsyncIterator[TestedApp]:
    """The application with the usual settings."""
    tested = TestedApp()
    yield tested
    await tested.container.close()
