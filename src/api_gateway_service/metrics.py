"""Every metric of the service; names and labels are an API. No id is ever a label."""

from prometheus_client import CollectorRegistry

from service_libs.metrics import ServiceMetrics, counter, gauge, histogram


class Metrics(ServiceMetrics):
    """The metrics, registered in the registry given."""

    # outcome: published, not_acknowledged. The second means that clicks wait for Kafka.
    commands_published = counter(
        "gateway_commands_published_total{outcome}", "Commands by whether Kafka has them."
    )
    rate_limited = counter(
        "gateway_rate_limited_total{endpoint,policy}", "Requests refused, by the limit passed."
    )
    # reason: why a token was not taken. A rise of `unknown_key` means that keys were rotated.
    auth_failures = counter("gateway_auth_failures_total{reason}", "Tokens that were refused.")
    downstream_duration = histogram(
        "gateway_downstream_call_duration_seconds{service,outcome}",
        "Time of a question to another service, or of a command to Kafka.",
    )
    # 1 means that limits hold for each process alone.
    limiter_fallback = gauge(
        "gateway_limits_per_process", "1 while limits are kept by each process alone."
    )
    open_streams = gauge("gateway_open_streams", "Event streams that are open.")

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "gateway")
