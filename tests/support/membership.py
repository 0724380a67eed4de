"""Consumers over a real broker whose effects are durable once applied."""

from prometheus_client import CollectorRegistry

from batch_conductor_service.clock import SystemClock
from batch_conductor_service.consuming.handling import PollHandler
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import (
    BatchStateRepositoryProtocol,
    DlqProducerProtocol,
    PersistenceQueueProtocol,
)
from tests.support.consuming import ControlledDlq, ControlledRepository
from tests.support.kafka import unique
from tests.support.pipelines import DEPENDENCIES


def policy_for(servers: str) -> ConsumerPolicy:
    """Return a policy that does not make tests wait."""
    return ConsumerPolicy(
        bootstrap_servers=servers,
        group_id=unique("group"),
        commit_interval_seconds=0.1,
        drain_timeout_seconds=1,
        metadata_max_age_seconds=1,
        max_backoff_seconds=0.2,
        request_timeout_seconds=3,
        session_timeout_seconds=3,
    )


def consumer_of(policy: ConsumerPolicy, repository: ControlledRepository) -> EventConsumer:
    """Return a consumer without a queue."""
    return consumer_with(policy, repository)


def consumer_with(
    policy: ConsumerPolicy,
    repository: BatchStateRepositoryProtocol,
    queue: PersistenceQueueProtocol | None = None,
    dlq: DlqProducerProtocol | None = None,
    metrics: Metrics | None = None,
) -> EventConsumer:
    """Return a consumer; what is not given is its own."""
    metrics = metrics or Metrics(CollectorRegistry())
    handler = PollHandler(
        repository, dlq or ControlledDlq(), policy, metrics, SystemClock(), DEPENDENCIES
    )
    return EventConsumer(policy, handler, queue, metrics, SystemClock())
