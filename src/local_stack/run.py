"""What `bcs local` does, from the first server to the last."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from local_stack.flow_neighbours import FlowNeighbours
from local_stack.flow_story import FlowStory
from local_stack.neighbours import Neighbours
from local_stack.ports import find_free_port, is_port_free
from local_stack.processes import LocalServerError
from local_stack.service import ServiceProcess
from local_stack.stack import LocalStack
from local_stack.story import Story

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130  # exit code, as shells have it
LOOK_SECONDS = 0.2


class LocalRun:
    """Starts everything, tells the story, serves on until a signal, ends everything."""

    def __init__(
        self, directory: Path, *, port: int, is_serving_on: bool, console: Console | None = None
    ) -> None:
        self._directory = directory
        self._port = port
        self._is_serving_on = is_serving_on
        self._console = console or Console()

    def run(self) -> int:
        """Return the exit code.

        Raises:
            LocalServerError: something did not start, or ended by itself.
            StoryError: the service did not do what it is for.
        """
        is_serving = False
        with signals_as_interrupts():
            try:
                with (
                    self._stack() as stack,
                    self._service(stack) as service,
                    self._orchestrator(stack, service) as orchestrator,
                ):
                    asyncio.run(self._tell(stack, service, orchestrator))
                    if not self._is_serving_on:
                        return 0
                    is_serving = True
                    self._serve_on(service, orchestrator)
            except KeyboardInterrupt:
                self._console.print("Everything has ended.")
        return 0 if is_serving else INTERRUPTED

    @contextmanager
    def _stack(self) -> Iterator[LocalStack]:
        self._console.print(f"Starting local servers; data and logs in {self._directory}")
        with LocalStack(self._directory) as stack:
            with self._console.status("Starting ..."):
                stack.start(self._report_ready)
            try:
                yield stack
            finally:
                self._console.print("Ending the servers ...")

    @contextmanager
    def _service(self, stack: LocalStack) -> Iterator[ServiceProcess]:
        port = self._choose_port()
        service = ServiceProcess("bcs", self._directory / "bcs", stack.settings(), port=port)
        with self._console.status("Migrating ..."):
            service.migrate()
        self._report_ready("The database has the newest schema")
        try:
            with self._console.status("Starting the service ..."):
                asyncio.run(Neighbours.create_topics(stack.kafka.bootstrap_servers))
                service.start()
            self._report_ready(f"The service on {service.client.url}")
            yield service
        finally:
            self._console.print("Ending the service ...")
            service.stop()

    @contextmanager
    def _orchestrator(self, stack: LocalStack, service: ServiceProcess) -> Iterator[ServiceProcess]:
        settings = stack.settings() | {"BOS_BCS_BASE_URL": service.client.url}
        port = find_free_port()
        orchestrator = ServiceProcess("bos", self._directory / "bos", settings, port=port)
        with self._console.status("Starting the orchestrator ..."):
            orchestrator.migrate()
            orchestrator.start()
        self._report_ready(f"The orchestrator on {orchestrator.client.url}")
        try:
            yield orchestrator
        finally:
            self._console.print("Ending the orchestrator ...")
            orchestrator.stop()

    def _choose_port(self) -> int:
        if is_port_free(self._port):
            return self._port
        port = find_free_port()
        self._console.print(f"[yellow]Port {self._port} is taken; the service uses {port}.[/]")
        return port

    async def _tell(
        self, stack: LocalStack, service: ServiceProcess, orchestrator: ServiceProcess
    ) -> None:
        async with Neighbours(stack.kafka.bootstrap_servers) as neighbours:
            await Story(self._console, neighbours, service.client).tell()
        async with FlowNeighbours(stack.kafka.bootstrap_servers) as neighbours:
            await FlowStory(self._console, neighbours, orchestrator.client).tell()

    def _serve_on(self, *services: ServiceProcess) -> None:
        places = ", ".join(service.client.url for service in services)
        logs = ", ".join(str(service.log_path) for service in services)
        self._console.print(f"\nServing on {places} until Ctrl-C; logs: {logs}")
        while all(service.is_running for service in services):
            time.sleep(LOOK_SECONDS)
        [ended, *_] = [service for service in services if not service.is_running]
        raise LocalServerError(f"A service ended by itself; its log is {ended.log_path}.")

    def _report_ready(self, what: str) -> None:
        self._console.print(f"  [green]✓[/] {what}")


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Make the first signal a KeyboardInterrupt; the second one ends the process at once."""
    is_ending = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_ending
        if is_ending:
            os._exit(INTERRUPTED)  # the children end with us
        is_ending = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
