"""The script behind `make house`, which is no package, and what the walkthrough names."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
WALKTHROUGH = ROOT / "docs" / "walkthrough.md"


def load_house() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("house", ROOT / ".ci" / "house.py")
    assert spec
    assert spec.loader
    house = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = house  # where its own annotations are looked up
    spec.loader.exec_module(house)
    return house


def named_paths(heading: str) -> list[Path]:
    """Return what the section of that heading links to, in its order."""
    section = (
        WALKTHROUGH.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    )
    return [(WALKTHROUGH.parent / link).resolve() for link in re.findall(r"\]\(([^)]+)\)", section)]
