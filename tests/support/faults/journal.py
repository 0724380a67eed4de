"""What happened in a run, in order, as JSON lines: events, answers, faults."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any


class Journal:
    """Appends entries to a file and keeps them; the file is there for whoever looks afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self._started = time.monotonic()

    def note(self, what: str, **fields: object) -> None:
        """Append an entry with the seconds since the start."""
        entry = {"at": round(time.monotonic() - self._started, 3), "what": what, **fields}
        self.entries.append(entry)
        self.counts[what] += 1
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def trace(self) -> str:
        """Return the faults and what else was not ordinary, for the message of a failure."""
        unusual = [e for e in self.entries if e["what"] not in ("acknowledged", "answered")]
        return "\n".join(json.dumps(entry) for entry in unusual[-60:])
