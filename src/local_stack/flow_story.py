"""The flow, told as it happens: a click, its phases, its end; and a second one that skips."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from uuid import uuid4

from rich.console import Console

from local_stack.asking import Json, ServiceClient
from local_stack.flow_neighbours import FlowNeighbours
from local_stack.story import StoryError

ESSAYS = 5
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.7  # the gateway allows 120 questions a minute


class FlowStory:
    """A batch goes through `nlp`, then through `cj_assessment`, which has corrected texts.

    Args:
        console: where it is told.
        neighbours: do what is commanded.
        gateway: the gateway, asked as the teacher.
        teacher: whose batch it is, and whose token the gateway is asked with.
    """

    def __init__(
        self, console: Console, neighbours: FlowNeighbours, gateway: ServiceClient, teacher: str
    ) -> None:
        self._console = console
        self._neighbours = neighbours
        self._gateway = gateway
        self._teacher = teacher
        self._essay_ids = [f"essay-{number:02}" for number in range(1, ESSAYS + 1)]

    async def tell(self) -> str:
        """Play the story; return the batch that it was about.

        Raises:
            StoryError: it did not come out as it should.
        """
        batch_id = await self.make_batch()
        self._chapter(f"Batch {batch_id} is registered, and its teacher asks for nlp")
        await self._run(batch_id, "nlp", clicks=2, phases=["spellcheck", "nlp"])

        self._chapter("The teacher asks for cj_assessment: spellcheck is not paid for again")
        await self._run(batch_id, "cj_assessment", clicks=1, phases=["cj_assessment"])
        self._console.print("\n[bold green]The flow came out as it should.[/]")
        return batch_id

    async def make_batch(self) -> str:
        """Register a batch of the teacher's, and return its id once it is ready.

        Raises:
            StoryError: it did not become ready.
        """
        batch_id = f"flow-{uuid4().hex[:8]}"
        await self._neighbours.register(batch_id, self._essay_ids, owner=self._teacher)
        await self._await_status(batch_id, lambda shown: shown["status"] == "ready")
        return batch_id

    async def _run(self, batch_id: str, pipeline: str, *, clicks: int, phases: list[str]) -> None:
        """Ask for the pipeline, wait for its end, show what was commanded, and check it."""
        first = len(self._neighbours.commands)
        request_id = await self._click(batch_id, pipeline, clicks)
        try:
            end = await self._neighbours.hear_end(timeout_seconds=WAIT_SECONDS)
        except TimeoutError as exc:
            raise StoryError(f"No end of {pipeline} came within {WAIT_SECONDS:g} s.") from exc
        commanded = self._neighbours.commands[first:]
        for phase, texts in commanded:
            self._console.print(f"  commanded: [bold]{phase}[/] for {', '.join(texts.values())}")
        if [phase for phase, _ in commanded] != phases or end["completed_phases"] != phases:
            raise StoryError(f"Expected {phases}, but {commanded} was commanded: {end}")
        corrected = {one: f"corrected-{one}" for one in self._essay_ids}
        if commanded[-1][1] != corrected:
            raise StoryError(f"Not corrected: {commanded[-1]}")
        self._console.print(f"  [bold]Ended: [green]{end['final_status']}[/]")
        await self._show_status(batch_id, request_id, pipeline)

    async def _click(self, batch_id: str, pipeline: str, clicks: int) -> str:
        """Ask so often under one Idempotency-Key, as a hasty finger does; return the request."""
        key = uuid4().hex
        answers = [await self._post(batch_id, pipeline, key) for _ in range(clicks)]
        if answers.count(answers[0]) != clicks:
            raise StoryError(f"One click was taken as several: {answers}")
        times = "" if clicks == 1 else f", and asked {clicks} times it is still one"
        self._console.print(f"  [bold]202[/] accepted, request {answers[0]['request_id']}{times}")
        return str(answers[0]["request_id"])

    async def _post(self, batch_id: str, pipeline: str, key: str) -> Json:
        path, body = f"/v1/batches/{batch_id}/pipelines", {"requested_pipeline": pipeline}
        headers = {"Idempotency-Key": key}
        status, answer = await asyncio.to_thread(self._gateway.post, path, body, headers)
        if status != HTTPStatus.ACCEPTED:
            raise StoryError(f"The gateway did not take the request: {status} {answer}")
        return answer

    async def _show_status(self, batch_id: str, request_id: str, pipeline: str) -> None:
        """Show what the teacher sees of his request, once it has ended."""

        def has_ended(shown: Json) -> bool:
            newest, *_ = shown["details"]["requests"]
            return bool(newest["request_id"] == request_id and newest["ended_at"])

        shown = await self._await_status(batch_id, has_ended)
        self._console.print(f"  {pipeline}: {shown['status']}")
        for phase in shown["details"]["phases"]:
            why = f", {phase['skip_reason']}" if phase["skip_reason"] else ""
            self._console.print(f"    {phase['name']}: {phase['status']}{why}")

    async def _await_status(self, batch_id: str, is_reached: Callable[[Json], bool]) -> Json:
        """Ask the gateway until it shows what is waited for, and return that."""
        status = 0
        shown: Json = {}
        for _ in range(round(WAIT_SECONDS / POLL_SECONDS)):
            status, shown = await asyncio.to_thread(
                self._gateway.get, f"/v1/batches/{batch_id}/status"
            )
            if status == HTTPStatus.OK and is_reached(shown):
                return shown
            await asyncio.sleep(POLL_SECONDS)
        raise StoryError(f"The gateway showed nothing else of {batch_id}: {status} {shown}")

    def _chapter(self, title: str) -> None:
        self._console.rule(f"[bold cyan]{title}", align="left")
