"""`bcs replay`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from batch_conductor_service.cli.operating import NOTHING_DIFFERS, SOMETHING_DIFFERS, opened
from batch_conductor_service.config import Settings, load_settings
from batch_conductor_service.operating.replaying import PartitionReplay, Replayer, ReplayResult
from common_core.records import Partition
from common_core.topics import consumed_topics

if TYPE_CHECKING:
    from batch_conductor_service.cli.replay_report import ReplayReport


class PartitionOffset(click.ParamType[tuple[Partition, int]]):
    """TOPIC:PARTITION:OFFSET."""

    name = "topic:partition:offset"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Partition, int]:
        topic, _, rest = str(value).partition(":")
        partition, _, offset = rest.partition(":")
        if not (topic and partition.isdecimal() and offset.isdecimal()):
            self.fail(f"'{value}' is not TOPIC:PARTITION:OFFSET.", param, ctx)
        return (topic, int(partition)), int(offset)


class Moment(click.ParamType[datetime]):
    """An ISO time; one without a zone is UTC."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            time = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"'{value}' is no ISO time, as 2025-06-01T12:00:00Z is.", param, ctx)
        return time if time.tzinfo else time.replace(tzinfo=UTC)


@click.command()
@click.option(
    "--from-offset", "offsets", type=PartitionOffset(), multiple=True, help="May be repeated."
)
@click.option("--from-time", "since", type=Moment(), help="ISO; UTC where no zone is given.")
@click.option(
    "--topic", "topics", multiple=True, help="With --from-time; all consumed ones by default."
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it; without it nothing is changed.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    help="Longest wait for running consumers to obey, in seconds.",
)
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line, for machines.")
def replay(
    offsets: Sequence[tuple[Partition, int]],
    since: datetime | None,
    topics: Sequence[str],
    wait_seconds: float,
    *,
    is_applied: bool,
    is_json: bool,
) -> None:
    """Move the consumer group back, so that events are read again.

    Applying is idempotent, so a replay does no harm; it never moves the group forward. A group
    without members is moved at once. Consumers that run are asked through Redis: each rewinds the
    partitions that it owns once, within a second or so, and commits the earlier offset first, so
    that a crash during the replay continues it. A request that nobody has obeyed lapses after an
    hour.

    Exits with 0 when the group was moved (or would be), with 1 when some partitions wait still,
    with 2 when it could not tell, or a topic or partition is not there.
    """
    if bool(offsets) == (since is not None) or (topics and since is None):
        raise click.UsageError("Give --from-offset, or --from-time with or without --topic.")
    _require_consumed([*topics, *(topic for (topic, _), _ in offsets)])

    async def make_plan(replayer: Replayer) -> Sequence[PartitionReplay]:
        if since is None:
            return await replayer.plan_from_offsets(dict(offsets))
        if topics:
            return await replayer.plan_from_time(since, topics)
        return await replayer.plan_from_time(since, consumed_topics(), may_be_missing=True)

    wait = wait_seconds if is_applied else None
    result = asyncio.run(_replay(load_settings(), make_plan, _report(is_json=is_json), wait))
    sys.exit(SOMETHING_DIFFERS if result and result.waiting else NOTHING_DIFFERS)


def _require_consumed(topics: Sequence[str]) -> None:
    known = consumed_topics()
    if unknown := [topic for topic in topics if topic not in known]:
        listed = ", ".join(known)
        raise click.UsageError(f"'{unknown[0]}' is no topic that is consumed. They are: {listed}.")


def _report(*, is_json: bool) -> "ReplayReport":
    from batch_conductor_service.cli.replay_report import JsonReplayReport, TableReplayReport

    return JsonReplayReport() if is_json else TableReplayReport()


async def _replay(
    settings: Settings,
    make_plan: Callable[[Replayer], Awaitable[Sequence[PartitionReplay]]],
    report: "ReplayReport",
    wait_seconds: float | None,
) -> ReplayResult | None:
    """Return what was done; None where nothing was to be."""
    async with opened(settings) as container:
        replayer = await container.get(Replayer)
        plan = await make_plan(replayer)
        report.show_plan(plan)
        result = None
        if wait_seconds is not None:
            result = await replayer.carry_out(plan, wait_seconds=wait_seconds)
    report.show_result(plan, result)
    return result
