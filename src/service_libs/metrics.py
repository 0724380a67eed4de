"""What every service measures, and how a service declares more. No id is ever a label."""

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds

Metric = TypeVar("Metric", bound=MetricWrapperBase)


class Declared(Generic[Metric]):
    """A metric as a class declares it; each instance of the class has one of its own.

    Args:
        make: makes it, as its class does.
        series: its name and labels as in `name{label,label}`; `_name` gets the service's prefix.
        text: what it measures.
    """

    def __init__(self, make: Callable[..., Metric], series: str, text: str) -> None:
        self._make, self._series, self._text = make, series, text

    def __get__(self, instance: object, owner: type) -> Metric:
        raise AttributeError("an instance has the metric, its class has none")

    def register(self, registry: CollectorRegistry, prefix: str) -> Metric:
        """Return the metric, made in the registry."""
        name, _, labels = self._series.rstrip("}").partition("{")
        full_name = prefix + name if name.startswith("_") else name
        return self._make(
            full_name, self._text, labels.split(",") if labels else (), registry=registry
        )


def counter(series: str, text: str) -> Declared[Counter]:
    """Declare what only rises."""
    return Declared(Counter, series, text)


def gauge(series: str, text: str) -> Declared[Gauge]:
    """Declare what rises and falls."""
    return Declared(Gauge, series, text)


def histogram(series: str, text: str) -> Declared[Histogram]:
    """Declare how durations are distributed, in seconds."""
    return Declared(partial(Histogram, buckets=BUCKETS), series, text)


class ServiceMetrics:
    """Metrics of requests, dependencies and tasks, under the service's prefix."""

    # Requests answered; `endpoint` is the route's pattern.
    http_requests = counter(
        "_http_requests_total{method,endpoint,status_code}", "Requests answered."
    )
    http_duration = histogram(
        "_http_request_duration_seconds{method,endpoint}", "Time to answer a request."
    )

    dependency_up = gauge("_dependency_up{dependency}", "1 while the dependency answers.")
    circuit_breaker_state = gauge(
        "_circuit_breaker_state{dependency}",
        "0 closed, 1 half open, 2 open: the dependency is not asked.",
    )

    task_up = gauge("_task_up{task}", "1 while the background task runs.")
    task_restarts = counter(
        "_task_restarts_total{task}", "Background tasks started again after they died."
    )

    # outcome: published, failed, dropped, already_held (read again by a replay: the topic has
    # it). A steady rise of `failed` means the broker is away.
    dlq_messages = counter(
        "_dlq_messages_total{topic,reason,outcome}", "Dead letters by what became of them."
    )

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self.registry = registry
        for owner in reversed(type(self).__mro__):
            for name, declared in vars(owner).items():
                if isinstance(declared, Declared):
                    setattr(self, name, declared.register(registry, prefix))


class ConsumingMetrics(ServiceMetrics):
    """And those of a service that consumes."""

    # Of the whole group, whoever owns the partition; markers of transactions count, as they do
    # for Kafka. NaN while Kafka does not say.
    consumer_lag = gauge(
        "_kafka_consumer_lag{topic,partition}",
        "Records that the partition has and the group has not yet committed; NaN if unknown.",
    )
    # High while nothing is consumed, or while what is consumed does not reach Postgres.
    oldest_unread_record_age = gauge(
        "_kafka_oldest_unread_record_age_seconds",
        "Age of the oldest record that the group has not yet committed; NaN if unknown.",
    )
    # One state is 1, the others 0.
    consumer_state = gauge("_consumer_state{state}", "What the consumer is doing.")
