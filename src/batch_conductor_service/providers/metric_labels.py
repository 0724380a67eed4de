"""Every series that can be known beforehand, from the start: at 0, so that the first is a rise.

`increase()` sees nothing of a series that appears with 1.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from itertools import product

from prometheus_client import Counter, Histogram

from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.exceptions import PrerequisiteMissingError, UnknownPipelineError
from batch_conductor_service.metrics import Metrics
from common_core.topics import (
    CONSUMED_EVENTS,
    PERSISTENCE_BASE_TOPIC,
    RESOLUTION_BASE_TOPIC,
    consumed_topics,
    dlq_topic_name,
)
from common_core.verdicts import Reason, Verdict
from service_libs.decoding import InvalidReason
from service_libs.exceptions import (
    DeadlineExceededError,
    OverloadedError,
    RefusedUpdateError,
    ServiceError,
    StoreUnavailableError,
)

VERSION = version("batch-conductor-service")
UNKNOWN = "unknown"  # a pipeline that the file does not have, an event of no topic of ours

PUBLISHING_OUTCOMES = ("published", "failed", "dropped")
DEAD_LETTER_OUTCOMES = (*PUBLISHING_OUTCOMES, "already_held")
EVENT_OUTCOMES = ("applied", "dead_lettered")
TRANSACTION_OUTCOMES = ("committed", "contended", "fell_back", "failed")
PERSISTENCE_OUTCOMES = ("success", "failure")
RESOLUTION_STATUSES = ("success", "failure")
RESOLUTION_REASONS = tuple(
    error.code
    for error in (
        UnknownPipelineError,
        PrerequisiteMissingError,
        StoreUnavailableError,
        OverloadedError,
        DeadlineExceededError,
        ServiceError,
    )
)
PERSISTENCE_REASONS = ("refused_by_database", "unreadable_entry")


def dead_letter_reasons() -> Mapping[str, tuple[str, ...]]:
    """Return the reasons of dead letters by their topic."""
    consumed = (*InvalidReason, RefusedUpdateError.code)
    by_base_topic = dict.fromkeys(consumed_topics(), consumed) | {
        RESOLUTION_BASE_TOPIC: RESOLUTION_REASONS,
        PERSISTENCE_BASE_TOPIC: PERSISTENCE_REASONS,
    }
    return {dlq_topic_name(topic): reasons for topic, reasons in by_base_topic.items()}


def show_closed_sets(metrics: Metrics) -> None:
    """Show at 0 whatever is the same for every pipeline file."""
    _show(metrics.resolution_duration, RESOLUTION_STATUSES)
    for reason in Reason:
        is_skipped = reason is Reason.ALREADY_COMPLETED
        _show(metrics.phase_verdicts, [Verdict.SKIP if is_skipped else Verdict.RUN], [reason])
    _show(metrics.events_processed, CONSUMED_EVENTS, EVENT_OUTCOMES)
    _show(metrics.event_processing, CONSUMED_EVENTS, EVENT_OUTCOMES)
    _show(metrics.times_not_believed, CONSUMED_EVENTS)
    for topic, reasons in dead_letter_reasons().items():
        _show(metrics.dlq_messages, [topic], reasons, DEAD_LETTER_OUTCOMES)
    _show(metrics.redis_transactions, TRANSACTION_OUTCOMES)
    _show(metrics.redis_transaction_retries, TRANSACTION_OUTCOMES)
    _show(metrics.postgres_persistence, PERSISTENCE_OUTCOMES)


def show_pipelines(metrics: Metrics, catalog: PipelineCatalog) -> None:
    """Show at 0 what the pipelines of the file can lead to, and which pipelines these are."""
    steps = sorted({s.name for pipeline in catalog.pipelines.values() for s in pipeline.steps})
    _show(metrics.resolutions, RESOLUTION_STATUSES, catalog.names)
    _show(metrics.resolutions, ["failure"], [UNKNOWN])
    _show(metrics.rules_pruned, steps)
    _show(metrics.phase_skipped_events, steps, PUBLISHING_OUTCOMES)
    metrics.build_info.labels(VERSION, pipelines_hash(catalog)).set(1)


def pipelines_hash(catalog: PipelineCatalog) -> str:
    """Return a hash over all pipelines, whatever their order in the file."""
    versions = sorted((name, pipeline.version) for name, pipeline in catalog.pipelines.items())
    return hashlib.sha256(json.dumps(versions).encode()).hexdigest()[:16]


def _show(metric: Counter | Histogram, *label_values: Iterable[str]) -> None:
    for values in product(*label_values):
        metric.labels(*values)
