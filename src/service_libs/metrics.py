"""What every service measures. No id is ever a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

HTTP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # s


class ServiceMetrics:
    """Metrics of requests, dependencies and tasks, under the service's prefix."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self.registry = registry
        self._http(registry, prefix)
        self._dependencies(registry, prefix)
        self._tasks(registry, prefix)
        self._dead_letters(registry, prefix)

    def _http(self, registry: CollectorRegistry, prefix: str) -> None:
        # Requests answered; `endpoint` is the route's pattern.
        self.http_requests = Counter(
            f"{prefix}_http_requests_total",
            "Requests answered.",
            ["method", "endpoint", "status_code"],
            registry=registry,
        )
        self.http_duration = Histogram(
            f"{prefix}_http_request_duration_seconds",
            "Time to answer a request.",
            ["method", "endpoint"],
            buckets=HTTP_BUCKETS,
            registry=registry,
        )

    def _dependencies(self, registry: CollectorRegistry, prefix: str) -> None:
        self.dependency_up = Gauge(
            f"{prefix}_dependency_up",
            "1 while the dependency answers.",
            ["dependency"],
            registry=registry,
        )
        self.circuit_breaker_state = Gauge(
            f"{prefix}_circuit_breaker_state",
            "0 closed, 1 half open, 2 open: the dependency is not asked.",
            ["dependency"],
            registry=registry,
        )

    def _tasks(self, registry: CollectorRegistry, prefix: str) -> None:
        self.task_up = Gauge(
            f"{prefix}_task_up", "1 while the background task runs.", ["task"], registry=registry
        )
        self.task_restarts = Counter(
            f"{prefix}_task_restarts_total",
            "Background tasks started again after they died.",
            ["task"],
            registry=registry,
        )

    def _dead_letters(self, registry: CollectorRegistry, prefix: str) -> None:
        # outcome: published, failed, dropped, already_held (read again by a replay: the topic has
        # it). A steady rise of `failed` means the broker is away.
        self.dlq_messages = Counter(
            f"{prefix}_dlq_messages_total",
            "Dead letters by what became of them.",
            ["topic", "reason", "outcome"],
            registry=registry,
        )
