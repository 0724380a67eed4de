"""The composition of containers, driven from outside."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from local_stack.ports import LOCALHOST, find_free_port
from local_stack.tokens import make_secret

ROOT = Path(__file__).parents[2]
PROJECT = "bcs-containers-test"
COMMAND_TIMEOUT_SECONDS = 300
# Of each service that is scaled: its port, and the variable that names one of the host.
PORTS = {"bcs": ("4002", "BCS_PORT"), "gateway": ("4001", "API_GATEWAY_PORT")}


class Composition:
    """The services of docker-compose.yml under a project name and on ports of their own."""

    def __init__(self) -> None:
        http_port, kafka_port = find_free_port(), find_free_port()
        orchestrator_port, gateway_port = find_free_port(), find_free_port()
        prometheus_port = find_free_port()
        self.url = f"http://{LOCALHOST}:{http_port}"
        self.orchestrator_url = f"http://{LOCALHOST}:{orchestrator_port}"
        self.gateway_url = f"http://{LOCALHOST}:{gateway_port}"
        self.prometheus_url = f"http://{LOCALHOST}:{prometheus_port}"
        self.bootstrap_servers = f"{LOCALHOST}:{kafka_port}"
        self.secret = make_secret()
        self._environment = os.environ | {
            "API_GATEWAY_JWT_SECRET": self.secret,
            "API_GATEWAY_PORT": str(gateway_port),
            "BCS_PORT": str(http_port),
            "BCS_PROMETHEUS_PORT": str(prometheus_port),
            "BOS_PORT": str(orchestrator_port),
            "BCS_KAFKA_HOST": LOCALHOST,
            "BCS_KAFKA_PORT": str(kafka_port),
            "BCS_POSTGRES_PORT": str(find_free_port()),
            "BCS_REDIS_PORT": str(find_free_port()),
        }

    def up(self) -> None:
        """Start everything, in the order of its dependencies; build nothing."""
        self._compose("up", "--detach", "--no-build")

    def scale(self, replicas: int, service: str = "bcs") -> list[str]:
        """Run so many replicas of a service as the file itself has it; return their addresses.

        `up` goes back to the one on a port of its own.
        """
        port, variable = PORTS[service]
        as_it_stands = {k: v for k, v in self._environment.items() if k != variable}
        scaled = ("--scale", f"{service}={replicas}")
        self._compose("up", "--detach", "--no-build", *scaled, environment=as_it_stands)
        numbers = range(1, replicas + 1)
        return [
            f"http://{self._compose('port', f'--index={number}', service, port).strip()}"
            for number in numbers
        ]

    def restart(self, service: str) -> None:
        """Stop one service in order and start it again."""
        self._compose("restart", service)

    def kill(self, service: str) -> None:
        """End one service as a power cut would, and start it again."""
        self._compose("kill", service)
        self._compose("start", service)

    def stop(self, service: str) -> None:
        """Stop one service in order."""
        self._compose("stop", service)

    def start(self, service: str) -> None:
        """Start one service again."""
        self._compose("start", service)

    def down(self) -> None:
        """Remove everything, the data too."""
        self._compose("down", "--volumes", "--remove-orphans")

    def logs(self) -> str:
        """Return the last lines of every service."""
        return self._compose("logs", "--no-color", "--tail=40")

    def log_of(self, service: str) -> list[str]:
        """Return all that one service has logged."""
        return self._compose("logs", "--no-color", "--no-log-prefix", service).splitlines()

    def execute(self, service: str, *command: str) -> str:
        """Return what a command says that is run in the service's container."""
        return self._compose("exec", "-T", service, *command)

    def inspect(self, service: str, template: str) -> str:
        """Return what the engine says of the service's container."""
        container = self._compose("ps", "--all", "--quiet", service).strip()
        return run("docker", "inspect", "--format", template, container).strip()

    def volumes(self) -> list[str]:
        """Return the volumes that the project has."""
        label = f"label=com.docker.compose.project={PROJECT}"
        return run("docker", "volume", "ls", "--quiet", "--filter", label).split()

    def _compose(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        command = [*find_compose(), "--project-name", PROJECT, "--file", "docker-compose.yml"]
        return run(*command, *arguments, environment=environment or self._environment)


@cache
def find_compose() -> tuple[str, ...]:
    """Return the command: the plugin where it is installed, else the program of old."""
    plugin = subprocess.run(["docker", "compose", "version"], check=False, capture_output=True)
    if plugin.returncode == 0:
        return ("docker", "compose")
    program = shutil.which("docker-compose")
    assert program, "neither `docker compose` nor `docker-compose` is installed"
    return (program,)


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Return what the command says on standard output; its errors fail the test."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
