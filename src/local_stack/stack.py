"""The three servers that the services need, with their data in one directory."""

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from local_stack.kafka import KafkaBroker
from local_stack.postgres import PostgresServer
from local_stack.processes import LocalServerError
from local_stack.valkey import ValkeyServer

POSTGRES_DIRECTORY = "postgres"


class LocalStack:
    """Valkey, PostgreSQL and a Kafka broker on free ports; leaving the context ends them.

    One directory takes one stack at a time. Valkey and PostgreSQL find again what they had.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as ending:
            self._lock(ending)
            self.valkey = ValkeyServer(self.directory / "valkey")
            self.postgres = PostgresServer(self.directory / POSTGRES_DIRECTORY)
            self.kafka = KafkaBroker(self.directory / "kafka")
            self._ending = ending.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.close()

    def start(self, report: Callable[[str], None]) -> None:
        """Start the servers one after the other, reporting which is ready and where."""
        self._ending.callback(self.valkey.stop)
        self.valkey.start()
        report(f"Valkey (Redis's protocol) on port {self.valkey.port}")
        self._ending.callback(self.postgres.stop)
        self.postgres.start()
        report(f"PostgreSQL on port {self.postgres.port}")
        self._ending.callback(self.kafka.stop)
        self.kafka.start()
        report(f"Kafka's protocol on port {self.kafka.port}")

    def settings(self) -> dict[str, str]:
        """Return the environment in which the services find the servers."""
        return {
            "BCS_REDIS_URL": self.valkey.url,
            "BCS_DATABASE_URL": self.postgres.url,
            "BCS_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "BCS_KAFKA_ENABLE_IDEMPOTENCE": "false",  # this broker does not know it
            "BOS_DATABASE_URL": self.postgres.url,
            "BOS_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "BOS_KAFKA_ENABLE_IDEMPOTENCE": "false",
            "API_GATEWAY_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "API_GATEWAY_KAFKA_ENABLE_IDEMPOTENCE": "false",
        }

    def _lock(self, ending: ExitStack) -> None:
        lock = ending.enter_context((self.directory / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise LocalServerError(f"Another `bcs local` uses {self.directory}.") from exc


def remove_stack_data(directory: Path) -> None:
    """Remove what stacks left in the directory, and what stands elsewhere for a part of it."""
    PostgresServer.remove_data_of(directory / POSTGRES_DIRECTORY)
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def temporary_stack() -> Iterator[LocalStack]:
    """Run the servers in a directory that is removed afterwards, with all that they had."""
    directory = Path(tempfile.mkdtemp(prefix="bcs-"))
    try:
        directory.chmod(0o755)  # PostgreSQL runs as another user
        with LocalStack(directory) as stack:
            stack.start(lambda _line: None)
            yield stack
    finally:
        remove_stack_data(directory)
