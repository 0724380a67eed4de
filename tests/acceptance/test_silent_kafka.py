"""The end of the service while its Kafka takes connections and says nothing."""

import signal
import socket
import time

from tests.support.processes import serving_process


def test_a_silent_broker_makes_no_unclean_end() -> None:
    """There was nothing to lose, so it is no reason for an exit code that says otherwise."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        settings = {
            "ENVIRONMENT": "development",
            "USE_MOCK_REPOSITORY": True,
            "KAFKA_BOOTSTRAP_SERVERS": f"{host}:{port}",
            "SHUTDOWN_TIMEOUT_SECONDS": 20,
        }
        with serving_process(**settings) as (process, _):
            # The consumer and the health monitor both wait for an answer.
            waiting = [listening.accept()[0] for _ in range(2)]
            began = time.monotonic()

            process.signal(signal.SIGTERM)

            assert process.wait() == 0, process.output
            assert time.monotonic() - began < 15
            for connection in waiting:
                connection.close()
