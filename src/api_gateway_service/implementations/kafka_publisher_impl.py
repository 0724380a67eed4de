"""Commands to BOS over Kafka: acknowledged by all in-sync replicas, within a bounded time."""

import asyncio
from functools import cache
from time import perf_counter
from uuid import uuid4

import orjson
from prometheus_client import Counter, Histogram

from api_gateway_service.exceptions import NotAcknowledgedError
from api_gateway_service.metrics import Metrics
from api_gateway_service.models.values import PipelineCommand
from common_core.topics import EventName, topic_name
from service_libs.exceptions import BrokerUnavailableError
from service_libs.failpoints import failpoint
from service_libs.kafka.producer import KafkaProducerClient

SOURCE_SERVICE = "api_gateway_service"
TOPIC = topic_name(EventName.CLIENT_BATCH_PIPELINE_REQUEST)


class KafkaPublisherImpl:
    """`CommandPublisherProtocol` on the producer of the service."""

    def __init__(
        self, producer: KafkaProducerClient, metrics: Metrics, *, timeout_seconds: float
    ) -> None:
        self._producer = producer
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._series_of = cache(self._find_series)  # as many as there are outcomes

    async def publish(self, command: PipelineCommand) -> None:
        started = perf_counter()
        outcome = "not_acknowledged"
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._producer.send(
                    TOPIC, command.data.batch_id.encode(), to_record(command), ()
                )
            outcome = "published"
        except (BrokerUnavailableError, TimeoutError) as exc:
            raise NotAcknowledgedError from exc
        finally:
            duration = perf_counter() - started
            published, durations = self._series_of(outcome)
            published.inc()
            durations.observe(duration)
        failpoint("gateway.acknowledged")

    def _find_series(self, outcome: str) -> tuple[Counter, Histogram]:
        published = self._metrics.commands_published.labels(outcome)
        return published, self._metrics.downstream_duration.labels("kafka", outcome)


def to_record(command: PipelineCommand) -> bytes:
    """Return the command in its envelope."""
    envelope = {
        "event_id": str(uuid4()),
        "event_type": TOPIC,
        "event_timestamp": command.made_at.isoformat(),
        "source_service": SOURCE_SERVICE,
        "schema_version": 1,
        "correlation_id": str(command.correlation_id),
        "data_schema_uri": None,
        "data": command.data.model_dump(mode="json"),
        "metadata": None,
    }
    return orjson.dumps(envelope)
