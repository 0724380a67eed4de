"""`bcs replay`."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click

from batch_conductor_service.cli.operating import (
    NOTHING_DIFFERS,
    SOMETHING_DIFFERS,
    opened,
)
from batch_conductor_service.config import Settings, load_settings
from batch_conductor_service.events.topics import consumed_topics
from batch_conductor_service.services.replaying import (
    Partition,
    Replayer,
    ReplayResult,
)


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
def replay(
    offsets: Sequence[tuple[Partition, int]],
    since: datetime | None,
    topics: Sequence[str],
    wait_seconds: float,
    *,
    is_applied: bool,
) -> None:
    """Move the consumer group back, so that events are read again.

    Applying is idempotent, so a replay does no harm; it never moves the group forward. A group
    without members is moved at once. Consumers that run are asked through Redis: each rewinds the
    partitions that it owns once, within a second or so, and commits the earlier offset first, so
    that a crash during the replay continues it. A request that nobody has obeyed lapses after an
    hour.

    Exits with 0 when the group was moved (or would be), with 1 when some partitions wait still,
    with 2 when it could not tell.
    """
    if bool(offsets) == (since is not None) or (topics and since is None):
        raise click.UsageError("Give --from-offset, or --from-time with or without --topic.")
    settings = load_settings()
    wait = wait_seconds if is_applied else None
    result = asyncio.run(_replay(settings, dict(offsets) if since is None else since, topics, wait))
    sys.exit(SOMETHING_DIFFERS if result.waiting else NOTHING_DIFFERS)


async def _replay(
    settings: Settings,
    start: Mapping[Partition, int] | datetime,
    topics: Sequence[str],
    wait_seconds: float | None,
) -> ReplayResult:
    from batch_conductor_service.cli.replay_report import ReplayReport

    report = ReplayReport()
    async with opened(settings) as container:
        replayer = await container.get(Replayer)
        if isinstance(start, datetime):
            plan = await replayer.plan_from_time(start, topics or consumed_topics())
        else:
            plan = await replayer.plan_from_offsets(start)
        report.show_plan(plan)
        if wait_seconds is None:
            report.show_rehearsed()
            return ReplayResult(is_asked=False)
        result = await replayer.carry_out(plan, wait_seconds=wait_seconds)
    report.show_result(plan, result)
    return result
