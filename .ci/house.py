"""Measure the source: how large its parts are, and through how many files one journey leads.

`make house` prints a table and fails where a limit is passed. Files touched are measured, not
guessed: one event and one question go through the real code, on real servers, while it is noted
which functions are entered. `--files` names the files.
"""

import ast
import asyncio
import os
import statistics
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple, TypeVar

from dishka import AsyncContainer
from quart import Quart

from batch_conductor_service.app import create_app
from batch_conductor_service.config import Settings
from batch_conductor_service.consuming.handling import PollHandler
from batch_conductor_service.persisting.worker import PersistenceWorker
from batch_conductor_service.startup_setup import build_container
from local_stack.service import ServiceProcess
from local_stack.stack import temporary_stack
from service_libs.kafka.records import ConsumedRecord
from service_libs.logging import configure_logging
from service_libs.protocols import BackgroundTaskProtocol
from tests.support.builders import RecordedEvent, registered, spellchecked

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
SERVICE = SOURCE / "batch_conductor_service"

ROOT_MODULES_LIMIT = 12
LINES_GOAL, LINES_LIMIT = 10_500, 10_500
MEDIAN_LOWEST, MEDIAN_HIGHEST = 90, 160
FUNCTION_LINES_LIMIT = 20
CYCLES_LIMIT = 0
EVENT_GOAL, EVENT_LIMIT = 24, 24
QUESTION_GOAL, QUESTION_LIMIT = 15, 15

SMALL_LINES = 5  # with fewer a file is empty, or a name for others
IS_FUNCTION = 0x01  # of a code object's flags: its names are known to be local (CO_OPTIMIZED)

Result = TypeVar("Result")


class Row(NamedTuple):
    """One line of the table."""

    name: str
    value: float
    goal: str
    limit: str
    is_within: bool


def at_most(name: str, value: float, limit: float, goal: object = "") -> Row:
    """Return the row of what must not be more than the limit."""
    return Row(name, value, str(goal), f"<= {limit}", value <= limit)


# What is counted without running anything.


def modules(package: Path) -> list[Path]:
    """Return the package's files that say something, with those of the packages in it."""
    return [path for path in sorted(package.rglob("*.py")) if line_count(path) >= SMALL_LINES]


def line_count(path: Path) -> int:
    """Return how many lines the file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def function_lengths(paths: Sequence[Path]) -> list[int]:
    """Return how many lines each function has, its signature and docstring included."""
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def modules_in_cycles() -> list[str]:
    """Return the modules that import themselves by way of others."""
    names = {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
        for path in SOURCE.rglob("*.py")
        if path.name != "__init__.py"
    }
    imports = {name: set(_imports(path)) & names.keys() for name, path in names.items()}
    return sorted(name for name in imports if name in _reachable(name, imports))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _reachable(start: str, imports: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def count_sizes() -> list[Row]:
    """Return the rows that need no servers."""
    paths = modules(SERVICE)
    lines = [line_count(path) for path in paths]
    median = round(statistics.median(lines))
    allowed = f"{MEDIAN_LOWEST} to {MEDIAN_HIGHEST}"
    is_median_within = MEDIAN_LOWEST <= median <= MEDIAN_HIGHEST
    in_root = len([path for path in paths if path.parent == SERVICE])
    ninth_decile = round(statistics.quantiles(function_lengths(modules(SOURCE)), n=10)[8])
    return [
        at_most("modules at the service's root", in_root, ROOT_MODULES_LIMIT),
        at_most("lines of the service", sum(lines), LINES_LIMIT, LINES_GOAL),
        Row("lines of a file, median", median, allowed, allowed, is_median_within),
        at_most("lines of a function, 90 of 100", ninth_decile, FUNCTION_LINES_LIMIT),
        at_most("modules in import cycles", len(modules_in_cycles()), CYCLES_LIMIT),
    ]


# What is measured on real servers.


class Journeys(NamedTuple):
    """The files through whose functions one event and one question went, below `src`."""

    event: list[str]
    question: list[str]


@contextmanager
def entered_files() -> Iterator[list[str]]:
    """Fill the list, at the end, with the source files whose functions were entered meanwhile."""
    codes: set[CodeType] = set()
    files: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_flags & IS_FUNCTION:
            codes.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        paths = {Path(code.co_filename) for code in codes}
        files += sorted(str(p.relative_to(SOURCE)) for p in paths if p.is_relative_to(SOURCE))


async def measure_journeys(environment: dict[str, str]) -> Journeys:
    """Return the files touched on the servers that the environment names.

    What an event and a question make once only is made by one of each before.
    """
    settings = Settings.model_validate(
        {
            name.removeprefix("BCS_").lower(): value
            for name, value in environment.items()
            if name.startswith("BCS_")
        }
        # Without the tasks that run beside it, nobody knows how fresh an answer is.
        | {"max_staleness_seconds": 0, "pipeline_config_path": ROOT / "pipelines.yaml"}
    )
    container = build_container(settings)
    app = create_app(settings, container)
    try:
        await _apply(container, registered("first", 1), spellchecked("first", "essay-1"))
        await _ask(app, "first")
        await _apply(container, registered("second", 1))
        with entered_files() as event:
            await _apply(container, spellchecked("second", "essay-1"))
        with entered_files() as question:
            await _ask(app, "second")
    finally:
        await container.close()
    return Journeys(event, question)


async def _at_once(attempt: Callable[[], Awaitable[Result]], /) -> Result:
    return await attempt()


async def _apply(container: AsyncContainer, *events: RecordedEvent) -> None:
    """Bring events from the bytes of their records to Postgres."""
    records = [
        ConsumedRecord(event.topic, 0, offset, event.timestamp_ms or 0, event.key, event.value)
        for offset, event in enumerate(events)
    ]
    handler = await container.get(PollHandler)
    handled = await handler.handle(records, _at_once)
    tasks = await container.get(Sequence[BackgroundTaskProtocol])
    [worker] = [task for task in tasks if isinstance(task, PersistenceWorker)]
    await worker.drain()
    if not all(entry_id for _, entry_id in handled):
        raise SystemExit("An event did not come into the queue: nothing is measured.")


async def _ask(app: Quart, batch_id: str) -> None:
    question = {"batch_id": batch_id, "requested_pipeline": "cj_assessment"}
    answer = await app.test_client().post("/internal/v1/pipelines/define", json=question)
    body = await answer.get_json()
    if answer.status_code != HTTPStatus.OK or body["final_pipeline"] != ["cj_assessment"]:
        raise SystemExit(f"The question was not answered as it should be: {body}")


def measure_on_servers() -> Journeys:
    """Return the files touched, on servers that run for that long only."""
    configure_logging("WARNING")
    with temporary_stack() as stack:
        ServiceProcess("bcs", stack.directory, stack.settings(), port=0).migrate()
        return asyncio.run(measure_journeys(stack.settings()))


def main(arguments: Sequence[str]) -> int:
    """Print the table; return the exit code, 1 if a limit is passed."""
    os.chdir(ROOT)
    journeys = measure_on_servers()
    rows = [
        *count_sizes(),
        at_most("files touched by an event", len(journeys.event), EVENT_LIMIT, EVENT_GOAL),
        at_most(
            "files touched by a question", len(journeys.question), QUESTION_LIMIT, QUESTION_GOAL
        ),
    ]
    print(f"{'':32} {'measured':>9}  {'goal':>10}  limit")
    for row in rows:
        passed = "" if row.is_within else "  PASSED"
        print(f"{row.name:32} {row.value:>9,}  {row.goal:>10}  {row.limit}{passed}")
    if "--files" in arguments:
        for name, files in journeys._asdict().items():
            print(f"\nThrough these goes the {name}:", *files, sep="\n  ")
    return 0 if all(row.is_within for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
