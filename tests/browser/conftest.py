"""A browser for each test, and the gateway with the played orchestrator that most of them need."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser

from common_core.topics import EventName, topic_name
from tests.support.browser.chromium import browser_at, need_chromium
from tests.support.browser.demo import DemoPage, demo_page
from tests.support.gateway.process import gateway_process
from tests.support.gateway.web import Web, served_web
from tests.support.kafka import unique
from tests.support.topics import ensure_topics


@dataclass(frozen=True, kw_only=True)
class Served:
    """A gateway, and where it answers."""

    address: str
    web: Web


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with browser_at(need_chromium()) as browser:
        yield browser


@pytest.fixture
def web() -> Iterator[Web]:
    with served_web() as web:
        yield web


@pytest.fixture
def batch_id() -> str:
    return unique("batch")


@pytest.fixture
async def kafka(kafka_bootstrap_servers: str) -> str:
    """A Kafka that has the commands' topic."""
    await ensure_topics(
        kafka_bootstrap_servers, topic_name(EventName.CLIENT_BATCH_PIPELINE_REQUEST)
    )
    return kafka_bootstrap_servers


@pytest.fixture
async def address(web: Web, kafka: str) -> AsyncIterator[str]:
    """A gateway in development, whose batches the played orchestrator has."""
    with gateway_process(
        ENVIRONMENT="development", BOS_URL=web.url, KAFKA_BOOTSTRAP_SERVERS=kafka
    ) as (_, address):
        yield address


@pytest.fixture
async def demo(browser: Browser, address: str) -> AsyncIterator[DemoPage]:
    async with demo_page(browser, address) as demo:
        yield demo
