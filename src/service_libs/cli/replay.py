"""`replay`, of every service that consumes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from common_core.records import Partition
from service_libs.cli.operating import NOTHING_DIFFERS, SOMETHING_DIFFERS, Output, carry_out
from service_libs.kafka.replaying import PartitionReplay, Replayer, ReplayResult

if TYPE_CHECKING:
    from dishka import AsyncContainer
    from rich.table import Table


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


HELP = """Move the consumer group back, so that events are read again.

Applying is idempotent, so a replay does no harm; it never moves the group forward. A group
without members is moved at once. Consumers that run are asked through {store}: each rewinds the
partitions that it owns once, within a second or so, and commits the earlier offset first, so
that a crash during the replay continues it. What nobody has rewound within an hour
is not asked for any longer.

Exits with 0 when the group was moved (or would be), with 1 when some partitions wait still,
with 2 when it could not find out, or a topic or partition is not there.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person wants read again: from these offsets, or from a time of these topics."""

    offsets: Mapping[Partition, int]
    since: datetime | None
    topics: Sequence[str]

    def require_sense(self, consumed: Sequence[str]) -> None:
        """Refuse what is no one place to begin, or is of a topic that is not consumed."""
        if bool(self.offsets) == (self.since is not None) or (self.topics and self.since is None):
            raise click.UsageError("Give --from-offset, or --from-time with or without --topic.")
        for topic in [*self.topics, *(topic for topic, _ in self.offsets)]:
            if topic not in consumed:
                listed = ", ".join(consumed)
                raise click.UsageError(
                    f"'{topic}' is no topic that is consumed. They are: {listed}."
                )

    async def plan(self, replayer: Replayer, consumed: Sequence[str]) -> Sequence[PartitionReplay]:
        """Return what would become of it; without a topic all that are there are meant."""
        if self.since is None:
            return await replayer.plan_from_offsets(self.offsets)
        if self.topics:
            return await replayer.plan_from_time(self.since, self.topics)
        return await replayer.plan_from_time(self.since, consumed, may_be_missing=True)


OPTIONS = (
    click.Option(
        ["--from-offset", "offsets"], type=PartitionOffset(), multiple=True, help="May be repeated."
    ),
    click.Option(["--from-time", "since"], type=Moment(), help="ISO; UTC where no zone is given."),
    click.Option(
        ["--topic", "topics"], multiple=True, help="With --from-time; all consumed ones by default."
    ),
    click.Option(
        ["--apply", "is_applied"], is_flag=True, help="Do it; without it nothing is changed."
    ),
    click.Option(
        ["--wait", "wait_seconds"],
        type=click.FloatRange(min=0),
        default=30,
        show_default=True,
        help="Longest wait for running consumers to rewind, in seconds.",
    ),
    click.Option(["--json", "is_json"], is_flag=True, help="One JSON object a line, for machines."),
)


def replay_command(
    store: str,
    consumed_topics: Callable[[], Sequence[str]],
    open_container: "Callable[[], AsyncContainer]",
) -> click.Command:
    """Return the command, which asks running consumers through the store of that name."""

    def replay(
        offsets: Sequence[tuple[Partition, int]],
        since: datetime | None,
        topics: Sequence[str],
        wait_seconds: float,
        *,
        is_applied: bool,
        is_json: bool,
    ) -> None:
        consumed = consumed_topics()
        wanted = Wanted(offsets=dict(offsets), since=since, topics=topics)
        wanted.require_sense(consumed)

        async def work(container: "AsyncContainer") -> int:
            replayer = await container.get(Replayer)
            plan = await wanted.plan(replayer, consumed)
            output = Output(is_json=is_json)
            show_plan(output, plan)
            result = None
            if is_applied:
                result = await replayer.carry_out(plan, wait_seconds=wait_seconds)
            show_result(output, plan, result)
            return SOMETHING_DIFFERS if result and result.waiting else NOTHING_DIFFERS

        carry_out(open_container, work)

    help_text = HELP.format(store=store)
    return click.Command("replay", callback=replay, params=list(OPTIONS), help=help_text)


def show_plan(output: Output, plan: Sequence[PartitionReplay]) -> None:
    """Say what would become of each partition."""
    for one in plan:
        topic, number = one.partition
        output.write(
            "partition",
            topic=topic,
            partition=number,
            committed=one.committed,
            new_offset=one.new,
            records=one.records,
            note=one.note or None,
        )
    output.show(_table(plan))


def show_result(
    output: Output, plan: Sequence[PartitionReplay], result: ReplayResult | None
) -> None:
    """Say what was done; None says that nothing was to be."""
    count = sum(one.new is not None for one in plan)
    waiting = [_name(partition) for partition in result.waiting] if result else []
    output.write(
        "summary",
        applied=result is not None,
        members_asked=result is not None and result.is_asked,
        partitions=count,
        records=sum(one.records for one in plan),
        waiting=waiting,
    )
    if result is None:
        output.show("Nothing was changed; --apply moves the group.")
    elif not count:
        output.show("There is nothing to replay.")
    elif not result.is_asked:
        output.show(f"The group has no members; {count} partitions were moved.")
    elif waiting:
        names = ", ".join(waiting)
        output.show(f"Not yet rewound: {names}. Whoever owns them within the hour rewinds them.")
    else:
        output.show(f"Running consumers have rewound {count} partitions and read on from there.")


def _table(plan: Sequence[PartitionReplay]) -> "Table":
    from rich.table import Table

    table = Table(title="replay", title_justify="left")
    table.add_column("topic", overflow="fold")
    table.add_column("partition")
    for heading in ("committed", "new offset", "records"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for one in plan:
        topic, number = one.partition
        offsets = ("-" if each is None else str(each) for each in (one.committed, one.new))
        table.add_row(topic, str(number), *offsets, str(one.records), one.note)
    return table


def _name(partition: Partition) -> str:
    topic, number = partition
    return f"{topic}:{number}"
