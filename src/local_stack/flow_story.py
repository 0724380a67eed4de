"""The flow, told as it happens: a request, its phases, its end; and a second one that skips."""

import asyncio
from http import HTTPStatus
from uuid import uuid4

from rich.console import Console

from local_stack.asking import ServiceClient
from local_stack.flow_neighbours import FlowNeighbours
from local_stack.story import StoryError

ESSAYS = 5
WAIT_SECONDS = 60.0


class FlowStory:
    """A batch goes through `nlp`, then through `cj_assessment`, which has corrected texts."""

    def __init__(
        self, console: Console, neighbours: FlowNeighbours, orchestrator: ServiceClient
    ) -> None:
        self._console = console
        self._neighbours = neighbours
        self._orchestrator = orchestrator
        self._batch_id = f"flow-{uuid4().hex[:8]}"
        self._essay_ids = [f"essay-{number:02}" for number in range(1, ESSAYS + 1)]

    async def tell(self) -> None:
        """Play the story.

        Raises:
            StoryError: it did not come out as it should.
        """
        self._chapter(f"Batch {self._batch_id} is registered, and a client asks for nlp")
        await self._neighbours.register(self._batch_id, self._essay_ids)
        await self._run("nlp", phases=["spellcheck", "nlp"])

        self._chapter("The client asks for cj_assessment: spellcheck is not paid for again")
        await self._run("cj_assessment", phases=["cj_assessment"])
        await self._show_runs()
        self._console.print("\n[bold green]The flow came out as it should.[/]")

    async def _run(self, pipeline: str, *, phases: list[str]) -> None:
        """Ask for the pipeline, wait for its end, show what was commanded, and check it."""
        first = len(self._neighbours.commands)
        await self._neighbours.request(self._batch_id, pipeline)
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

    async def _show_runs(self) -> None:
        path = f"/internal/v1/batches/{self._batch_id}/pipeline-state"
        status, state = await asyncio.to_thread(self._orchestrator.get, path)
        if status != HTTPStatus.OK:
            raise StoryError(f"The runs of the batch are not shown: {status} {state}")
        for run in state["runs"]:
            self._console.print(f"  {run['pipeline']}: {run['state']}")
            for phase in run["phases"]:
                why = f", {phase['skip_reason']}" if phase["skip_reason"] else ""
                self._console.print(f"    {phase['name']}: {phase['status']}{why}")

    def _chapter(self, title: str) -> None:
        self._console.rule(f"[bold cyan]{title}", align="left")
