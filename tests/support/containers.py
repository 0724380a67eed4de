"""Servers from a Docker engine: the ones production runs."""

import os
import subprocess
import sys
from functools import cache

# The reaper would be one image more to fetch; each container is stopped by who started it.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

from testcontainers.core.container import DockerContainer

REDIS_IMAGE = "redis:7-bookworm"
POSTGRES_IMAGE = "postgres:15-bookworm"
KAFKA_IMAGE = "apache/kafka:3.9.1"

KAFKA_PORT = 9092
ADDRESS_FILE = "/dev/shm/advertised-address"  # noqa: S108 - inside the container
WAIT_FOR_ADDRESS = f"until [ -s {ADDRESS_FILE} ]; do sleep 0.1; done"


class ContainerServer:
    """A server in a container, published on a port of the engine's host.

    `start` raises `DockerException` where the image cannot be had.
    """

    def __init__(self, image: str, port: int) -> None:
        self.container = DockerContainer(image).with_exposed_ports(port)
        self._port = port

    @property
    def host(self) -> str:
        return self.container.get_container_host_ip()

    @property
    def published_port(self) -> int:
        return int(self.container.get_exposed_port(self._port))

    def start(self) -> None:
        self.container.start()

    def stop(self) -> None:
        self.container.stop()
        self.container.get_docker_client().client.close()


class KafkaContainer(ContainerServer):
    """A broker, which has to know before it starts where it is published."""

    def start(self) -> None:
        super().start()
        address = f"PLAINTEXT://{self.host}:{self.published_port}"
        command = f"echo export KAFKA_ADVERTISED_LISTENERS={address} > {ADDRESS_FILE}"
        self.container.exec(["sh", "-c", command])


@cache
def has_engine() -> bool:
    """Whether a Docker engine answers.

    Asked by a process of its own: where none answers, the client leaves its socket unclosed.
    """
    ask = [sys.executable, "-c", "import docker; docker.from_env(timeout=5).ping()"]
    return subprocess.run(ask, check=False, capture_output=True).returncode == 0


def redis_container() -> ContainerServer:
    server = ContainerServer(REDIS_IMAGE, 6379)
    server.container.with_command(
        "redis-server --appendonly yes --maxmemory-policy noeviction --protected-mode no"
    )
    return server


def postgres_container() -> ContainerServer:
    server = ContainerServer(POSTGRES_IMAGE, 5432)
    server.container.with_envs(POSTGRES_USER="bcs", POSTGRES_PASSWORD="bcs", POSTGRES_DB="bcs")
    server.container.with_command("postgres -c max_connections=200")
    return server


def kafka_container() -> ContainerServer:
    """Return one broker in KRaft mode; it waits for the address to advertise."""
    server = KafkaContainer(KAFKA_IMAGE, KAFKA_PORT)
    server.container.with_command(
        ["sh", "-c", f"{WAIT_FOR_ADDRESS}; . {ADDRESS_FILE}; exec /etc/kafka/docker/run"]
    )
    server.container.with_envs(
        KAFKA_NODE_ID="1",
        KAFKA_PROCESS_ROLES="broker,controller",
        KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9093",
        KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
        KAFKA_LISTENERS=f"PLAINTEXT://0.0.0.0:{KAFKA_PORT},CONTROLLER://localhost:9093",
        KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
        KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
        KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
        KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
        KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS="100",  # the tests lose members quickly
        KAFKA_HEAP_OPTS="-Xms128m -Xmx384m",
    )
    return server
