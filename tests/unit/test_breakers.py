from prometheus_client import CollectorRegistry

from batch_conductor_service.breakers import CircuitBreakers
from batch_conductor_service.metrics import Metrics


def test_a_breaker_that_was_never_needed_is_seen_to_be_closed() -> None:
    registry = CollectorRegistry()

    CircuitBreakers(Metrics(registry))

    for dependency in ("redis", "postgresql"):
        labels = {"dependency": dependency}
        assert registry.get_sample_value("bcs_circuit_breaker_state", labels) == 0
