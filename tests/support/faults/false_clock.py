"""The service on a clock that goes wrong: `python false_clock.py FILE serve`.

The file has the seconds by which the clock is ahead; it may be written at any time.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batch_conductor_service.cli import main
from service_libs.timing import SystemClock


def falsify(offset: Callable[[], float]) -> None:
    """Have everybody in this process read a wrong time of day; monotonic time stays right."""
    true_time = time.time
    time.time = lambda: true_time() + offset()
    time.time_ns = lambda: int(time.time() * 1e9)

    def now(_: SystemClock) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=offset())

    setattr(SystemClock, "now", now)  # noqa: B010 - a method that is assigned has no type


if __name__ == "__main__":
    file = Path(sys.argv.pop(1))
    falsify(lambda: float(file.read_text() or 0))
    main()
