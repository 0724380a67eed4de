"""A broker that speaks Kafka's protocol, in memory: what it holds ends with it.

It knows no idempotent producers, so clients need `enable_idempotence=False`.
"""

from pathlib import Path

from local_stack.ports import LOCALHOST, accepts_connections, find_free_port
from local_stack.processes import ServerProcess
from local_stack.wheels import find_kafka_broker


class KafkaBroker:
    """A Tansu broker with in-memory storage.

    Args:
        directory: for its log.
        port: where it listens; a free one is chosen if there is none.
        advertised_port: where clients are told to go on, if that is not where it listens.
    """

    def __init__(
        self, directory: Path, *, port: int | None = None, advertised_port: int | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = port or find_free_port()
        address = f"tcp://{self.bootstrap_servers}"
        advertised = f"tcp://{LOCALHOST}:{advertised_port or self.port}"
        self._process = ServerProcess(
            "The Kafka broker",
            [
                *(find_kafka_broker(), "broker", "--storage-engine", "memory://tansu/"),
                *("--listener-url", address, "--advertised-listener-url", advertised),
            ],
            log_path=directory / "kafka.log",
        )

    @property
    def bootstrap_servers(self) -> str:
        """Its address, as `BCS_KAFKA_BOOTSTRAP_SERVERS` takes it."""
        return f"{LOCALHOST}:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process.is_running

    @property
    def pid(self) -> int | None:
        """The process's id while it is alive."""
        return self._process.pid

    def start(self) -> None:
        """Start it and return when it listens."""
        self._process.start()
        self._process.wait_ready(lambda: accepts_connections(self.port))

    def stop(self) -> None:
        """End it in order."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a power cut would; all it held is gone."""
        self._process.kill()
