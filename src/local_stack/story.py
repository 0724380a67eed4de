"""The main job of the service, told as it happens: real events, real answers, each one checked."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from local_stack.asking import ServiceClient
from local_stack.neighbours import Neighbours
from service_libs.exceptions import ServiceError

ESSAYS = 10
PIPELINE = "cj_assessment"
SPELLCHECK = "spellcheck"
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.05


class StoryError(ServiceError):
    """The service did not do what it is for."""

    code = "story"


class Story:
    """A batch of ten essays goes through spellcheck while `cj_assessment` is asked for."""

    def __init__(self, console: Console, neighbours: Neighbours, service: ServiceClient) -> None:
        self._console = console
        self._neighbours = neighbours
        self._service = service
        self._batch_id = f"sample-{uuid4().hex[:8]}"
        self._essay_ids = [f"essay-{number:02}" for number in range(1, ESSAYS + 1)]

    async def tell(self) -> None:
        """Play the story.

        Raises:
            StoryError: it did not come out as it should.
        """
        self._chapter(f"Batch {self._batch_id} is registered with {ESSAYS} essays")
        await self._neighbours.register(self._batch_id, self._essay_ids)
        await self._wait_for_progress(0)
        await self.ask(expected=[SPELLCHECK, PIPELINE])

        self._chapter("Spellcheck completes, essay by essay")
        half = ESSAYS // 2
        await self._spellcheck(self._essay_ids[:half])
        await self.ask(expected=[SPELLCHECK, PIPELINE])
        await self._spellcheck(self._essay_ids[half:])

        self._chapter("All essays are spellchecked")
        await self.ask(expected=[PIPELINE])
        await self._show_skip()
        self._console.print("\n[bold green]The story came out as it should.[/]")

    async def ask(self, *, expected: list[str]) -> None:
        """Ask for the pipeline, show the answer, and check it.

        Raises:
            StoryError: it is another answer.
        """
        self._console.print(f"  [bold]Asked for {PIPELINE}[/]: which phases are still to run?")
        question = {
            "batch_id": self._batch_id,
            "requested_pipeline": PIPELINE,
            "correlation_id": str(uuid4()),
            "not_before": datetime.now(UTC).isoformat(),  # all that was told so far
        }
        status, answer = await asyncio.to_thread(
            self._service.post, "/internal/v1/pipelines/define", question
        )
        if status != HTTPStatus.OK or answer["final_pipeline"] != expected:
            raise StoryError(f"Expected {expected}, but the answer was {status}: {answer}")
        self._console.print(f"  [bold]Answer: [green]{' → '.join(expected)}[/]")
        self._console.print(_phase_table(answer))

    async def _spellcheck(self, essay_ids: Sequence[str]) -> None:
        for essay_id in essay_ids:
            await self._neighbours.complete_spellcheck(self._batch_id, essay_id)
            number = self._essay_ids.index(essay_id) + 1
            await self._wait_for_progress(number)
            self._console.print(f"  {essay_id} spellchecked: {number} of {ESSAYS} counted")

    async def _wait_for_progress(self, completed: int) -> None:
        """Wait until the service has seen so many essays complete."""
        seen: dict[str, Any] = {}
        for _ in range(round(WAIT_SECONDS / POLL_SECONDS)):
            status, seen = await asyncio.to_thread(
                self._service.get, f"/internal/v1/batches/{self._batch_id}"
            )
            step = seen.get("steps", {}).get(SPELLCHECK, {})
            is_counted = seen.get("essays_total") == ESSAYS
            if status == HTTPStatus.OK and is_counted and step.get("completed", 0) >= completed:
                return
            await asyncio.sleep(POLL_SECONDS)
        raise StoryError(
            f"The service did not see {completed} of {ESSAYS} essays within {WAIT_SECONDS:g} s,"
            f" but {seen}."
        )

    async def _show_skip(self) -> None:
        try:
            event = await self._neighbours.hear_skip(self._batch_id, timeout_seconds=WAIT_SECONDS)
        except TimeoutError as exc:
            raise StoryError(f"No skip event came within {WAIT_SECONDS:g} s.") from exc
        data = event["data"]
        if (data["phase_name"], data["skip_reason"]) != (SPELLCHECK, "already_completed"):
            raise StoryError(f"The skip event tells something else: {data}")
        self._console.print("  [bold]Told to the neighbours over Kafka:[/]")
        self._console.print_json(data=event)

    def _chapter(self, title: str) -> None:
        self._console.rule(f"[bold cyan]{title}", align="left")


def _phase_table(answer: dict[str, Any]) -> Table:
    table = Table(show_header=True, padding=(0, 1), box=None, title_justify="left")
    for heading in ("   phase", "verdict", "because", "completed", "failed", "of"):
        table.add_column(heading)
    for phase in answer["phases"]:
        evidence = phase["evidence"]
        table.add_row(
            f"   {phase['name']}",
            phase["verdict"],
            phase["reason"],
            str(evidence["completed"]),
            str(evidence["failed"]),
            str(evidence["total"] or "?"),
        )
    return table
