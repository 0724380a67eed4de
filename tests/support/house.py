"""The script behind `make house`, for tests; scripts are no package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def load_house() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("house", ROOT / ".ci" / "house.py")
    assert spec
    assert spec.loader
    house = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = house  # where its own annotations are looked up
    spec.loader.exec_module(house)
    return house
