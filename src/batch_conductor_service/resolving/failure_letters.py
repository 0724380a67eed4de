"""Dead letters of failed resolutions: each failure is reported, and never by a flood of letters.

Failures of one kind share a letter a minute, which says how many it stands for. What is remembered
of them is bounded, whatever callers ask for.
"""

import json
import math
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

from batch_conductor_service.domain.resolution import ResolutionRequest
from batch_conductor_service.exceptions import UnknownPipelineError
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId
from common_core.topics import RESOLUTION_BASE_TOPIC, dlq_topic_name
from service_libs.exceptions import BrokerUnavailableError, ServiceError, TransientError
from service_libs.kafka.records import DeadLetter
from service_libs.protocols import DlqProducerProtocol
from service_libs.timing import Backoff, Wakeups

UNKNOWN_PIPELINE = "unknown"  # whatever name was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterPolicy:
    """How often failures of one kind are reported, and how many kinds are kept apart.

    Of each kind one question is kept, of at most 64 KiB.
    """

    interval_seconds: float = 60
    max_kinds: int = 256
    max_backoff_seconds: float = 5


class FailureKind(NamedTuple):
    """What failures have in common that share a letter.

    With only a reason they concern the service rather than a batch, or there were too many kinds
    to keep them apart.
    """

    reason: str
    batch_id: BatchId | None = None
    pipeline: str | None = None


@dataclass(frozen=True, slots=True)
class _Unreported:
    """Failures that no letter has reported: the letter of the latest, and how many there are."""

    letter: DeadLetter
    count: int


class FailureLetters:
    """Dead-letters what is added, until `stop`, and then all that is not yet reported.

    The first of a kind is reported at once, those of the minute after it by one letter at its end.
    A letter that the broker does not take is kept, and those that come meanwhile are added to it.
    """

    def __init__(self, dlq: DlqProducerProtocol, metrics: Metrics, policy: LetterPolicy) -> None:
        self._dlq = dlq
        self._metrics = metrics
        self._policy = policy
        self._unreported: dict[FailureKind, _Unreported] = {}
        self._due: dict[FailureKind, float] = {}  # monotonic seconds: no next letter before
        self._backoff = Backoff(policy.max_backoff_seconds)
        self._wakeups = Wakeups()

    def add(self, request: ResolutionRequest, error: Exception) -> None:
        """Have the failure dead-lettered, alone or with others of its kind; never waits."""
        letter = _letter_for(request, error)
        kind = self._bound(_kind_of(letter.reason, request, error))
        self._due.setdefault(kind, -math.inf)
        self._merge(kind, letter, 1)
        self._wakeups.wake()

    async def run(self) -> None:
        """Publish; whoever has no more time cancels, and what was not reported is still known."""
        while self._unreported or not self._wakeups.is_stopping:
            if not self._unreported:
                await self._wakeups.wait()
                continue
            first = min(self._unreported, key=self._due.__getitem__)
            seconds = self._due[first] - time.monotonic()
            if seconds > 0 and not self._wakeups.is_stopping:
                await self._wakeups.wait(seconds)
            else:
                await self._report(first)

    def stop(self) -> None:
        """Have `run` report at once what waits for its minute to end, and then end itself."""
        self._wakeups.stop()

    def drop_all(self) -> int:
        """Give up all letters that were not sent, and return how many these were."""
        kinds = list(self._unreported)
        for kind in kinds:
            self._count_dropped(kind.reason)
        self._unreported.clear()
        return len(kinds)

    def _bound(self, kind: FailureKind) -> FailureKind:
        """Return the kind, or where there are too many, that of all others of its reason."""
        if kind not in self._due and len(self._due) >= self._policy.max_kinds:
            now = time.monotonic()
            self._due = {k: t for k, t in self._due.items() if k in self._unreported or t > now}
            if len(self._due) >= self._policy.max_kinds:
                return FailureKind(kind.reason)
        return kind

    def _merge(self, kind: FailureKind, letter: DeadLetter, count: int) -> None:
        held = self._unreported.get(kind)
        self._unreported[kind] = _Unreported(letter, count + (held.count if held else 0))

    async def _report(self, kind: FailureKind) -> None:
        """Publish the letter of the kind; one that is not taken comes after the others."""
        unreported = self._unreported[kind]
        try:
            await self._dlq.publish(
                replace(unreported.letter, metadata={"occurrences": unreported.count})
            )
        except BrokerUnavailableError:  # who publishes counts it
            self._due[kind] = time.monotonic()
            await self._wakeups.pause(self._backoff.next_delay())
            return
        except Exception:  # a fault of ours: not again with the same letter
            self._count_dropped(kind.reason)
            self._settle(kind, unreported.count)
            raise
        self._settle(kind, unreported.count)
        self._backoff.reset()

    def _count_dropped(self, reason: str) -> None:
        topic = dlq_topic_name(RESOLUTION_BASE_TOPIC)
        self._metrics.dlq_messages.labels(topic, reason, "dropped").inc()

    def _settle(self, kind: FailureKind, count: int) -> None:
        """Forget so many failures of the kind; what came meanwhile waits for its minute."""
        held = self._unreported.pop(kind)
        if held.count > count:
            self._unreported[kind] = replace(held, count=held.count - count)
        self._due[kind] = time.monotonic() + self._policy.interval_seconds


def _kind_of(reason: str, request: ResolutionRequest, error: Exception) -> FailureKind:
    if isinstance(error, TransientError):
        return FailureKind(reason)
    is_unknown = isinstance(error, UnknownPipelineError)
    pipeline = UNKNOWN_PIPELINE if is_unknown else request.requested_pipeline
    return FailureKind(reason, request.batch_id, pipeline)


def _letter_for(request: ResolutionRequest, error: Exception) -> DeadLetter:
    """Return the dead letter of a failed resolution; a fault of ours shows only its type."""
    shown = error if isinstance(error, ServiceError) else ServiceError()
    return DeadLetter(
        base_topic=RESOLUTION_BASE_TOPIC,
        reason=shown.code,
        error_type=type(error).__name__,
        error_message=str(shown),
        payload=request.body or _as_question(request),
        key=request.batch_id.encode(),
        correlation_id=request.correlation_id,
    )


def _as_question(request: ResolutionRequest) -> bytes:
    """Return the request as it can be sent again."""
    question = {
        "batch_id": request.batch_id,
        "requested_pipeline": request.requested_pipeline,
        "correlation_id": request.correlation_id,
        "batch_metadata": {"essays_total": request.essays_total},
    }
    return json.dumps(question).encode()
