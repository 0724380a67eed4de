"""Where the source lets itself be killed."""

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def find_failpoints() -> set[str]:
    """Return the names of all failpoints in the source of all services, and of what they share."""
    return {
        name
        for path in SOURCE.rglob("*.py")
        for name in re.findall(r'\bfailpoint\("([a-z._]+)"\)', path.read_text())
    }
