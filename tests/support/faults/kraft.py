"""Apache Kafka itself, one broker in KRaft mode, that can be killed and stopped.

From a container where a Docker engine answers, else as a process of Java's.
"""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from aiokafka.errors import KafkaError
from docker.errors import DockerException

from local_stack.ports import LOCALHOST, accepts_connections, find_free_port
from local_stack.processes import ServerProcess
from tests.support.containers import KAFKA_IMAGE
from tests.support.faults.container_process import ContainerProcess
from tests.support.faults.kafka_jars import fetch_jars
from tests.support.servers import engine_answers, ping_kafka

START_TIMEOUT_SECONDS = 90
PING_TIMEOUT_SECONDS = 5
HEAP = ("-Xms128m", "-Xmx384m")
QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-XX:TieredStopAtLevel=1")


class KraftBroker:
    """A broker whose data outlive a kill.

    It listens twice: directly, and on `proxied_port`, which it advertises as `advertised_port`:
    that of a proxy in front of it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        proxied_port: int,
        advertised_port: int,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.direct_port = find_free_port()
        self._special = properties or {}
        self._advertised = {"DIRECT": self.direct_port, "PROXIED": advertised_port}
        self._listeners = {"DIRECT": self.direct_port, "PROXIED": proxied_port}
        directory.mkdir(parents=True)
        self.process = self._in_container() or self._in_java(directory)

    @property
    def bootstrap_servers(self) -> str:
        """Its own address, past any proxy."""
        return f"{LOCALHOST}:{self.direct_port}"

    def start(self) -> None:
        """Start it and return when it answers."""
        self.process.start()
        self.process.wait_ready(self._answers, timeout=START_TIMEOUT_SECONDS)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()

    async def allow_only(self, operation: str, kind: str, name: str) -> None:
        """Leave everybody this one right to the group or topic."""
        command = [
            *("java", "-cp", f"{fetch_jars()}/*", "kafka.admin.AclCommand"),
            *("--bootstrap-server", self.bootstrap_servers, "--add"),
            *("--allow-principal", "User:*", "--operation", operation, kind, name),
        ]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    def remove(self) -> None:
        """End it, and remove what lies outside its directory."""
        self.kill()
        if isinstance(self.process, ContainerProcess):
            self.process.remove()

    def _answers(self) -> bool:
        if not accepts_connections(self.direct_port):
            return False
        try:  # an engine may accept for a container that does not listen yet
            asyncio.run(asyncio.wait_for(ping_kafka(self.bootstrap_servers), PING_TIMEOUT_SECONDS))
        except (OSError, KafkaError, TimeoutError):
            return False
        return True

    def _in_container(self) -> ContainerProcess | None:
        if not engine_answers():
            return None
        properties = self._properties("0.0.0.0")  # noqa: S104 - inside the container
        environment = {f"KAFKA_{key.upper().replace('.', '_')}": v for key, v in properties.items()}
        environment["KAFKA_HEAP_OPTS"] = " ".join(HEAP)
        try:
            return ContainerProcess(KAFKA_IMAGE, environment, list(self._listeners.values()))
        except DockerException as exc:
            sys.stderr.write(f"\nNo container of {KAFKA_IMAGE}, a process instead: {exc}\n")
            return None

    def _in_java(self, directory: Path) -> ServerProcess:
        def java(main: str, *arguments: str | Path) -> list[str | Path]:
            return ["java", *HEAP, *QUIET, "-cp", f"{fetch_jars()}/*", main, *arguments]

        properties = self._properties(LOCALHOST) | {"log.dirs": str(directory / "data")}
        file = directory / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        # A cluster's id is a UUID in 22 characters.
        arguments = ("format", "-t", uuid4().hex[:22], "-c", file)
        subprocess.run(java("kafka.tools.StorageTool", *arguments), check=True, capture_output=True)
        return ServerProcess("Kafka", java("kafka.Kafka", file), log_path=directory / "kafka.log")

    def _properties(self, host: str) -> dict[str, str]:
        """Return its settings: small and quick, with sessions as short as the tests need."""
        controller = find_free_port()
        listeners = {**self._listeners, "CONTROLLER": controller}
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{LOCALHOST}:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": _addresses(host, listeners),
            "advertised.listeners": _addresses(LOCALHOST, self._advertised),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
            "inter.broker.listener.name": "DIRECT",
            "num.partitions": "2",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "log.retention.ms": "-1",  # records are dated when their events happened
            "broker.session.timeout.ms": "1500",
            "broker.heartbeat.interval.ms": "300",
            "num.network.threads": "2",
            "num.io.threads": "2",
            **self._special,
        }


def _addresses(host: str, ports: dict[str, int]) -> str:
    return ",".join(f"{name}://{host}:{port}" for name, port in ports.items())
