"""How a replay is told: to a person as a table, to a machine as lines of JSON."""

import json
from collections.abc import Sequence
from typing import Protocol

import click
from rich.markup import escape
from rich.table import Table

from batch_conductor_service.cli.operating import make_console
from batch_conductor_service.operating.replaying import PartitionReplay, ReplayResult
from common_core.records import Partition


class ReplayReport(Protocol):
    """What is told of a replay."""

    def show_plan(self, plan: Sequence[PartitionReplay]) -> None:
        """Tell what would become of each partition."""
        ...

    def show_result(self, plan: Sequence[PartitionReplay], result: ReplayResult | None) -> None:
        """Tell what was done; None says that nothing was to be."""
        ...


class JsonReplayReport:
    """One object a line: `partition` for each, and a `summary` at the end."""

    def show_plan(self, plan: Sequence[PartitionReplay]) -> None:
        for one in plan:
            topic, number = one.partition
            self._print(
                type="partition",
                topic=topic,
                partition=number,
                committed=one.committed,
                new_offset=one.new,
                records=one.records,
                note=one.note or None,
            )

    def show_result(self, plan: Sequence[PartitionReplay], result: ReplayResult | None) -> None:
        self._print(
            type="summary",
            applied=result is not None,
            members_asked=result is not None and result.is_asked,
            partitions=sum(one.new is not None for one in plan),
            records=sum(one.records for one in plan),
            waiting=[_name(partition) for partition in result.waiting] if result else [],
        )

    @staticmethod
    def _print(**fields: object) -> None:
        click.echo(json.dumps(fields))


class TableReplayReport:
    """The plan as a table, and what came of it in a sentence."""

    def __init__(self) -> None:
        self._console = make_console()

    def show_plan(self, plan: Sequence[PartitionReplay]) -> None:
        table = Table(title="replay", title_justify="left")
        table.add_column("topic", overflow="fold")
        table.add_column("partition")
        for heading in ("committed", "new offset", "records"):
            table.add_column(heading, justify="right")
        table.add_column("")
        for one in plan:
            topic, number = one.partition
            offsets = (_number(one.committed), _number(one.new), str(one.records))
            table.add_row(escape(topic), str(number), *offsets, one.note)
        self._console.print(table)

    def show_result(self, plan: Sequence[PartitionReplay], result: ReplayResult | None) -> None:
        count = sum(one.new is not None for one in plan)
        if result is None:
            told = "Nothing was changed; --apply moves the group."
        else:
            told = _told(count, result)
        self._console.print(told, highlight=False, markup=False, soft_wrap=True)


def _told(count: int, result: ReplayResult) -> str:
    if not count:
        return "There is nothing to replay."
    if not result.is_asked:
        return f"The group has no members; {count} partitions were moved."
    waiting = ", ".join(map(_name, result.waiting))
    if waiting:
        return f"Not yet rewound: {waiting}. Whoever owns them within the hour rewinds them."
    return f"Running consumers have rewound {count} partitions and read on from there."


def _name(partition: Partition) -> str:
    topic, number = partition
    return f"{topic}:{number}"


def _number(offset: int | None) -> str:
    return "-" if offset is None else str(offset)
