"""A server in a container that is handled as a process is: started, paused, killed, started again.

What it wrote stays in the container, as on a disk, until that is removed.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import docker
from docker.errors import ImageNotFound

from local_stack.ports import LOCALHOST
from local_stack.processes import LocalServerError

LOG_LINES = 10
LOOK_SECONDS = 0.1


class ContainerProcess:
    """A container made at once and run when it is started.

    `ports` are published under their own numbers. Raises `DockerException` where the image cannot
    be had.
    """

    def __init__(self, image: str, environment: Mapping[str, str], ports: Sequence[int]) -> None:
        self._client = docker.from_env()
        published = {f"{port}/tcp": (LOCALHOST, port) for port in ports}
        try:
            self._client.images.get(image)
        except ImageNotFound:
            self._client.images.pull(image)
        self._container = self._client.containers.create(
            image, environment=dict(environment), ports=published
        )

    @property
    def is_running(self) -> bool:
        """Whether it runs, paused or not."""
        return self._status in ("running", "paused")

    @property
    def is_paused(self) -> bool:
        """Whether all its processes stand still."""
        return self._status == "paused"

    def start(self) -> None:
        """Start it; whether it is ready says `wait_ready`."""
        if not self.is_running:
            self._container.start()

    def wait_ready(self, is_ready: Callable[[], bool], *, timeout: float) -> None:
        """Return when the server answers.

        Raises:
            LocalServerError: it did not in time; its last words are in it.
        """
        deadline = time.monotonic() + timeout
        while not is_ready():
            if time.monotonic() > deadline or not self.is_running:
                words = self._container.logs(tail=LOG_LINES).decode(errors="replace")
                raise LocalServerError(f"The container does not answer.\n{words}")
            time.sleep(LOOK_SECONDS)

    def pause(self) -> None:
        """Have it stand still, with its connections open."""
        self._container.pause()

    def resume(self) -> None:
        """Let it go on, if it stands still."""
        if self.is_paused:
            self._container.unpause()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.is_running:
            self._container.kill()
            self._container.wait()

    def remove(self) -> None:
        """Remove it, with all it wrote."""
        self._container.remove(force=True, v=True)
        self._client.close()

    @property
    def _status(self) -> str:
        self._container.reload()
        return str(self._container.status)
