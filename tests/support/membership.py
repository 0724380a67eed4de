"""Consumers over a real broker whose effects are durable once applied."""

from functools import partial
from typing import TypedDict, Unpack

from prometheus_client import CollectorRegistry

from batch_conductor_service.consuming.checkpoints import Checkpoints
from batch_conductor_service.consuming.durability import DurabilityTracker
from batch_conductor_service.consuming.handling import PollHandler
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import (
    BatchStateRepositoryProtocol,
    PersistenceQueueProtocol,
)
from common_core.topics import consumed_topics
from service_libs.kafka.condition import ConditionRecorder
from service_libs.kafka.providers import show_consumer_state
from service_libs.kafka.record_source import KafkaRecordSource
from service_libs.protocols import (
    ClockProtocol,
    Connect,
    DlqProducerProtocol,
    ReplayRequestsProtocol,
)
from service_libs.timing import SystemClock
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


class Parts(TypedDict, total=False):
    """What a test gives a consumer; what is not given is its own, or not there."""

    queue: PersistenceQueueProtocol | None
    dlq: DlqProducerProtocol
    metrics: Metrics
    clock: ClockProtocol
    requests: ReplayRequestsProtocol | None
    connect: Connect | None


def consumer_with(
    policy: ConsumerPolicy, repository: BatchStateRepositoryProtocol, **parts: Unpack[Parts]
) -> EventConsumer:
    """Return a consumer that is made as the container makes it."""
    metrics = parts.get("metrics") or Metrics(CollectorRegistry())
    clock = parts.get("clock") or SystemClock()
    dlq = parts.get("dlq") or ControlledDlq()
    tracker = DurabilityTracker(parts.get("queue"))
    condition = ConditionRecorder(clock, partial(show_consumer_state, metrics))
    requests = parts.get("requests")
    return EventConsumer(
        policy,
        parts.get("connect") or partial(KafkaRecordSource, policy, consumed_topics(), clock=clock),
        PollHandler(repository, dlq, policy, metrics, clock, DEPENDENCIES),
        tracker,
        condition,
        Checkpoints(policy, tracker, condition, metrics, requests),
    )
