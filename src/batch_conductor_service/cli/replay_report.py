"""How a replay is told."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from batch_conductor_service.services.replaying import PartitionReplay, ReplayResult


class ReplayReport:
    """The plan as a table, and what came of it in a sentence."""

    def __init__(self) -> None:
        self._console = Console()

    def show_plan(self, plan: Sequence[PartitionReplay]) -> None:
        """Tell what would become of each partition."""
        table = Table(title="replay")
        for heading in ("topic", "partition"):
            table.add_column(heading)
        for heading in ("committed", "new offset", "records"):
            table.add_column(heading, justify="right")
        table.add_column("")
        for one in plan:
            topic, number = one.partition
            offsets = (_number(one.committed), _number(one.new), str(one.records))
            table.add_row(escape(topic), str(number), *offsets, one.note)
        self._console.print(table)

    def show_rehearsed(self) -> None:
        """Tell that this was all."""
        self._console.print("Nothing was changed; --apply moves the group.")

    def show_result(self, plan: Sequence[PartitionReplay], result: ReplayResult) -> None:
        """Tell what was done."""
        count = sum(one.new is not None for one in plan)
        self._console.print(_told(count, result))


def _told(count: int, result: ReplayResult) -> str:
    if not count:
        return "There is nothing to replay."
    if not result.is_asked:
        return f"The group has no members; {count} partitions were moved."
    waiting = ", ".join(f"{topic}:{number}" for topic, number in result.waiting)
    if waiting:
        return f"Not yet rewound: {waiting}. Whoever owns them within the hour rewinds them."
    return f"Running consumers have rewound {count} partitions and read on from there."


def _number(offset: int | None) -> str:
    return "-" if offset is None else str(offset)
