"""The servers that faults happen to, each behind a proxy, and the service's processes on them."""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar, overload

from local_stack.ports import LOCALHOST, accepts_connections, find_free_port
from local_stack.postgres import PostgresServer
from local_stack.processes import ServerProcess
from local_stack.valkey import ValkeyServer
from tests.support.database import migrate
from tests.support.faults.container_process import ContainerProcess
from tests.support.faults.kraft import KraftBroker
from tests.support.faults.proxy import FaultyProxy, ProxyThread

ROOT = Path(__file__).parents[3]
GROUP = "bcs-event-consumer"
START_TIMEOUT_SECONDS = 60
LOOK_SECONDS = 0.005
AOF_DIRECTORY = "appendonlydir"

# What makes an outage short enough to try many: every bound of the service, in seconds.
SETTINGS: Mapping[str, object] = {
    "ENVIRONMENT": "production",
    "HTTP_HOST": LOCALHOST,
    "REDIS_TIMEOUT_SECONDS": 1,
    "DATABASE_TIMEOUT_SECONDS": 3,
    "KAFKA_CONSUMER_GROUP_ID": GROUP,
    "KAFKA_SESSION_TIMEOUT_SECONDS": 3,
    "KAFKA_REQUEST_TIMEOUT_SECONDS": 3,
    "STUCK_CONSUMER_TIMEOUT_SECONDS": 15,
    "OFFSET_COMMIT_INTERVAL_SECONDS": 0.2,
    "PERSISTENCE_TAKEOVER_SECONDS": 3,
}

Command: TypeAlias = Sequence[str | Path]

SERVE: Command = (Path(sys.executable).with_name("bcs"), "serve")

Result = TypeVar("Result")


class Member:
    """One process of the service."""

    def __init__(self, name: str, directory: Path, settings: Mapping[str, object]) -> None:
        self.port = find_free_port()
        self.log_path = directory / f"{name}.log"
        self._settings = {**settings, "HTTP_PORT": self.port}
        self._is_special = False
        self._log_starts = 0
        self.process = self._make(SERVE, {})

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://{LOCALHOST}:{self.port}"

    @property
    def log(self) -> str:
        """What it has logged since it was last started."""
        return self.log_path.read_text()[self._log_starts :]

    def start(self, *, command: Command = SERVE, **changes: object) -> None:
        """Start it, with these settings beside its own, and return when it listens."""
        self.launch(command=command, **changes)
        self.process.wait_ready(
            lambda: accepts_connections(self.port), timeout=START_TIMEOUT_SECONDS
        )

    def launch(self, *, command: Command = SERVE, **changes: object) -> None:
        """Start it and do not wait."""
        if not self.process.is_running:
            self._is_special = bool(changes) or command is not SERVE
            self._log_starts = len(self.log_path.read_text()) if self.log_path.exists() else 0
            self.process = self._make(command, changes)
            self.process.start()

    def reset(self) -> None:
        """Have it run as it was made."""
        if self._is_special:
            self.process.stop()
        self.start()

    def _make(self, command: Command, changes: Mapping[str, object]) -> ServerProcess:
        values = {f"BCS_{name}": str(v) for name, v in {**self._settings, **changes}.items()}
        return ServerProcess(
            "The service",
            command,
            log_path=self.log_path,
            environment={**os.environ, "BCS_PIPELINE_CONFIG_PATH": str(ROOT / "pipelines.yaml")}
            | values,
        )


Server: TypeAlias = ValkeyServer | PostgresServer | KraftBroker | Member


class FaultServers:
    """Redis with its file, Postgres with our schema, Kafka, two processes of the service.

    A process ends with the thread that started it, so all are started from one that stays: `run`.
    """

    def __init__(self, directory: Path) -> None:
        self._keeper = ThreadPoolExecutor(1)
        self.directory = directory
        self.redis = ValkeyServer(directory / "valkey")
        self.postgres = PostgresServer(directory / "postgres")
        self.redis_proxy = FaultyProxy(self.redis.port)
        self.postgres_proxy = FaultyProxy(self.postgres.port)
        proxied_port = find_free_port()
        self.kafka_proxy = FaultyProxy(proxied_port)
        self.kafka = KraftBroker(
            directory / "kafka", proxied_port=proxied_port, advertised_port=self.kafka_proxy.port
        )
        self.proxies = ProxyThread()
        settings = {**SETTINGS, **self.addresses}
        self.members = [Member(f"bcs-{n}", directory, settings) for n in (1, 2)]

    @property
    def addresses(self) -> dict[str, str]:
        """The settings by which the service finds the servers, through the proxies."""
        through = str(self.postgres_proxy.port)
        return {
            "REDIS_URL": f"redis://{LOCALHOST}:{self.redis_proxy.port}/0",
            "DATABASE_URL": self.postgres.url.replace(str(self.postgres.port), through),
            "KAFKA_BOOTSTRAP_SERVERS": f"{LOCALHOST}:{self.kafka_proxy.port}",
        }

    def start(self) -> None:
        """Start everything but the service."""
        for proxy in (self.redis_proxy, self.postgres_proxy, self.kafka_proxy):
            self.proxies.add(proxy)
        for server in (self.redis, self.postgres, self.kafka):
            self._keeper.submit(server.start).result()
        asyncio.run(migrate(self.postgres.url))

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do something that blocks, in the thread that the processes belong to."""
        return await asyncio.get_running_loop().run_in_executor(self._keeper, work)

    async def heal(self) -> None:
        """Have everything run again, as it should, save the service."""
        for proxy in (self.redis_proxy, self.postgres_proxy, self.kafka_proxy):
            proxy.heal()
        for server in (self.redis, self.postgres, self.kafka):
            resume(process_of(server))
            await self.run(server.start)

    def close(self) -> None:
        """End everything."""
        every: list[Server] = [*self.members, self.redis, self.postgres, self.kafka]
        for each in every:
            resume(process_of(each))
            process_of(each).kill()
        self.postgres.remove_data()
        self.kafka.remove()
        self.proxies.close()
        self._keeper.shutdown()

    def wipe_redis(self) -> None:
        """Remove what the dead Redis had on disk."""
        shutil.rmtree(self.redis_files)

    @property
    def redis_files(self) -> Path:
        """Where Redis keeps what it knows."""
        return self.directory / "valkey" / AOF_DIRECTORY

    def cut_redis_tail(self, size: int) -> int:
        """Cut bytes off the end of the dead Redis's file, and return how many."""
        cut = 0
        for path in self.redis_files.glob("*.incr.aof"):
            cut = min(size, path.stat().st_size)
            os.truncate(path, path.stat().st_size - cut)
        return cut


@overload
def process_of(server: Member | ValkeyServer | PostgresServer) -> ServerProcess: ...
@overload
def process_of(server: Server) -> ServerProcess | ContainerProcess: ...
def process_of(server: Server) -> ServerProcess | ContainerProcess:
    """Return the server's process."""
    if isinstance(server, ValkeyServer | PostgresServer):
        return server._process
    return server.process


def pause(process: ServerProcess | ContainerProcess) -> None:
    """Stop the process and its children where they are; they keep their connections."""
    if isinstance(process, ContainerProcess):
        process.pause()
        return
    _signal(process, signal.SIGSTOP)
    while not is_paused(process):
        time.sleep(LOOK_SECONDS)


def resume(process: ServerProcess | ContainerProcess) -> None:
    """Let them go on."""
    if isinstance(process, ContainerProcess):
        process.resume()
    else:
        _signal(process, signal.SIGCONT)


def is_paused(process: ServerProcess | ContainerProcess) -> bool:
    """Whether the process stands still."""
    if isinstance(process, ContainerProcess):
        return process.is_paused
    status = Path(f"/proc/{process.pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"


def _signal(process: ServerProcess, number: signal.Signals) -> None:
    if process.pid is None:
        return
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, *map(int, children)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


@contextmanager
def fault_servers(directory: Path) -> Iterator[FaultServers]:
    """Give started servers, and end them in any case."""
    servers = FaultServers(directory)
    try:
        servers.start()
        yield servers
    finally:
        servers.close()
