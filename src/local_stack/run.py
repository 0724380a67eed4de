"""What `bcs local` does, from the first server to the last."""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from local_stack.asking import ServiceClient
from local_stack.flow_neighbours import OWNER, FlowNeighbours
from local_stack.flow_story import FlowStory
from local_stack.invitation import Invitation
from local_stack.neighbours import Neighbours
from local_stack.ports import find_free_port, is_port_free
from local_stack.processes import LocalServerError
from local_stack.service import ServiceName, ServiceProcess
from local_stack.stack import LocalStack
from local_stack.story import Story
from local_stack.tokens import make_secret, make_token

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130  # exit code, as shells have it
LOOK_SECONDS = 0.2
WATCHED_SECONDS = 2.0  # that a phase takes while somebody may watch it
TITLES: Mapping[ServiceName, str] = {"bcs": "BCS", "bos": "BOS", "gateway": "API Gateway"}
MIGRATED: tuple[ServiceName, ...] = ("bcs", "bos")


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where the services that a person asks for are wanted."""

    bcs: int
    gateway: int


@dataclass(frozen=True, kw_only=True)
class Services:
    """The three, and the secret that tokens for them are signed with."""

    bcs: ServiceProcess
    bos: ServiceProcess
    gateway: ServiceProcess
    secret: str

    @property
    def all(self) -> tuple[ServiceProcess, ...]:
        """Each of them."""
        return (self.bcs, self.bos, self.gateway)


class LocalRun:
    """Starts everything, tells the stories, serves on until a signal, ends everything."""

    def __init__(
        self, directory: Path, ports: Ports, *, is_serving_on: bool, console: Console | None = None
    ) -> None:
        self._directory = directory
        self._ports = ports
        self._is_serving_on = is_serving_on
        self._is_serving = False
        self._console = console or Console()

    def run(self) -> int:
        """Return the exit code.

        Raises:
            LocalServerError: something did not start, or ended by itself.
            StoryError: the services did not do what they are for.
        """
        with signals_as_interrupts():
            try:
                with self._stack() as stack, self._services(stack) as services:
                    asyncio.run(self._tell(stack, services))
                    return 0
            except KeyboardInterrupt:
                self._console.print("Everything has ended.")
        return 0 if self._is_serving else INTERRUPTED

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
    def _services(self, stack: LocalStack) -> Iterator[Services]:
        settings = stack.settings()
        asyncio.run(Neighbours.create_topics(stack.kafka.bootstrap_servers))
        port = self._choose_port("bcs", self._ports.bcs)
        with self._serving("bcs", settings, port) as bcs:
            settings["BOS_BCS_BASE_URL"] = bcs.client.url
            with self._serving("bos", settings, find_free_port()) as bos:
                secret = make_secret()
                settings["API_GATEWAY_BOS_URL"] = bos.client.url
                settings["API_GATEWAY_JWT_SECRET"] = secret
                port = self._choose_port("gateway", self._ports.gateway)
                with self._serving("gateway", settings, port) as gateway:
                    yield Services(bcs=bcs, bos=bos, gateway=gateway, secret=secret)

    @contextmanager
    def _serving(
        self, name: ServiceName, settings: Mapping[str, str], port: int
    ) -> Iterator[ServiceProcess]:
        service = ServiceProcess(name, self._directory / name, settings, port=port)
        try:
            with self._console.status(f"Starting {TITLES[name]} ..."):
                if name in MIGRATED:
                    service.migrate()
                service.start()
            self._report_ready(f"{TITLES[name]} on {service.client.url}")
            yield service
        finally:
            self._console.print(f"Ending {TITLES[name]} ...")
            service.stop()

    def _choose_port(self, name: ServiceName, wanted: int) -> int:
        if is_port_free(wanted):
            return wanted
        port = find_free_port()
        self._console.print(f"[yellow]Port {wanted} is taken; {TITLES[name]} uses {port}.[/]")
        return port

    async def _tell(self, stack: LocalStack, services: Services) -> None:
        async with Neighbours(stack.kafka.bootstrap_servers) as neighbours:
            await Story(self._console, neighbours, services.bcs.client).tell()
        token = make_token(services.secret, OWNER)
        gateway = ServiceClient(services.gateway.client.url, token=token)
        async with FlowNeighbours(stack.kafka.bootstrap_servers) as neighbours:
            story = FlowStory(self._console, neighbours, gateway, OWNER)
            await story.tell()
            if self._is_serving_on:
                batch_id = await story.make_batch()
                self._invite(gateway, Invitation(batch_id=batch_id, teacher=OWNER, token=token))
                neighbours.work_seconds = WATCHED_SECONDS
                await self._serve_on(services)

    def _invite(self, gateway: ServiceClient, invitation: Invitation) -> None:
        """Print it as it is, for what is pasted must not be wrapped."""
        self._console.rule("[bold cyan]Try it", align="left")
        text = invitation.write(gateway)
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    async def _serve_on(self, services: Services) -> None:
        self._is_serving = True
        logs = ", ".join(str(service.log_path) for service in services.all)
        self._console.print(f"\nServing until Ctrl-C; logs: {logs}")
        while True:
            for service in services.all:
                if not service.is_running:
                    raise LocalServerError(
                        f"A service ended by itself; its log is {service.log_path}."
                    )
            await asyncio.sleep(LOOK_SECONDS)

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
