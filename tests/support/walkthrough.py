"""What the walkthrough names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WALKTHROUGH = ROOT / "docs" / "walkthrough.md"


def named_paths(heading: str) -> list[Path]:
    """Return what the section of that heading links to, in its order."""
    section = (
        WALKTHROUGH.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    )
    return [(WALKTHROUGH.parent / link).resolve() for link in re.findall(r"\]\(([^)]+)\)", section)]
