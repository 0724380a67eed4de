"""Measure, and write what was measured to `docs/performance.md`."""

import argparse
import asyncio
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from bench.document import describe, render
from bench.figures import Figure
from bench.machine import describe_machine
from bench.servers import Servers, serve

DOCUMENT = Path("docs/performance.md")
BENCHES = (
    "define",
    "hydration",
    "skips",
    "projection",
    "hot_batch",
    "drain",
    "replicas",
    "recovery",
    "start",
    "graph",
    "memory",
    "gateway",
    "flow",
)


class Measure(Protocol):
    """What each bench has."""

    def __call__(self, servers: Servers, *, is_quick: bool) -> Iterator[Figure]:
        """Yield each figure as soon as it is measured; fewer and shorter where it is quick."""
        ...


def main() -> int:
    """Measure what is asked for; return 1 where a quick run finds a ratio far from its goal."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="BENCH", help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="two minutes, and nothing is written")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHES):
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    with serve() as servers:
        chapters = measure_all(arguments.names or BENCHES, servers, is_quick=arguments.quick)
        machine = describe_machine(asyncio.run(servers.describe()))
    if not (arguments.quick or arguments.names):
        DOCUMENT.write_text(render(machine, chapters))
    far = [figure for _, figures in chapters for figure in figures if figure.is_far]
    for figure in far:
        print(f"far from its goal: {describe(figure)}")
    return bool(far) and arguments.quick


def measure_all(
    names: Sequence[str], servers: Servers, *, is_quick: bool
) -> list[tuple[str, list[Figure]]]:
    """Run the benches one after the other, each on empty servers; print what they find."""
    chapters = []
    for name in names:
        bench = importlib.import_module(f"bench.{name}")
        asyncio.run(servers.clear())
        started = time.monotonic()
        print(f"{name}:", flush=True)
        measure: Measure = bench.measure
        figures = []
        for figure in measure(servers, is_quick=is_quick):
            figures.append(figure)
            print(f"  {describe(figure)}", flush=True)
        print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
        chapters.append((bench.__doc__ or name, figures))
    return chapters


if __name__ == "__main__":
    sys.exit(main())
