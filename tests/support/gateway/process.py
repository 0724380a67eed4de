"""The gateway as a process of its own."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.support.gateway.tokens import SECRET
from tests.support.processes import ServiceProcess, address_of, ended_in_order

DEFAULTS: Mapping[str, object] = {
    "JWT_SECRET": SECRET,
    "KAFKA_ENABLE_IDEMPOTENCE": "false",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "BOS_URL": "http://127.0.0.1:1",
    "CORS_ORIGINS": json.dumps(["https://app.example"]),
}


def new_gateway(**changes: object) -> ServiceProcess:
    """Start `api-gateway serve`."""
    return ServiceProcess({**DEFAULTS, **changes}, program="api-gateway")


@contextmanager
def gateway_process(**changes: object) -> Iterator[tuple[ServiceProcess, str]]:
    """Start it, wait until it serves, give it with its address, and end it in order."""
    with ended_in_order(new_gateway(**changes)) as process:
        yield process, address_of(process)
