"""Each of the twelve hard cases of the flow has a test of its name."""

import re
from pathlib import Path

CASES = range(1, 13)


def test_every_hard_case_is_tried() -> None:
    named = [
        int(number)
        for path in Path(__file__).parent.glob("test_*.py")
        for cases in re.findall(r"async def test_case_([0-9_and]+)_", path.read_text("utf-8"))
        for number in re.findall(r"[0-9]+", cases)
    ]

    assert set(named) == set(CASES)
